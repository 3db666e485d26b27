"""How annotation tools rename image files."""

import re
import unicodedata
from urllib.parse import unquote


def tool_name(name: str) -> str:
    """Returns a file name as annotation tools store it: "_" for spaces, without characters that their servers drop."""
    return re.sub(r"[^\w.-]", "", unicodedata.normalize("NFC", name).strip().replace(" ", "_"))


def image_file(name: str) -> str:
    """Returns the path of an image file, with "/" between folders, from a path of any system or a URL in an export."""
    if "://" in name or name.startswith("/data/"):
        local = re.search(r"[?&]d=([^&]*)", name)  # Label Studio's URL of a file on its own disk
        name = unquote(local[1] if local else re.split(r"[?#]", name)[0])
    return name.replace("\\", "/").strip("/")
