"""What annotation tools make of the names of image files."""

import re
import unicodedata
from urllib.parse import unquote


def tool_name(name: str) -> str:
    """A name as annotation tools leave it: without spaces and signs that their servers replace."""
    return re.sub(r"[^\w.-]", "", unicodedata.normalize("NFC", name).strip().replace(" ", "_"))


def image_file(name: str) -> str:
    """Path of an image file, folders separated by "/", from what tools call it: a path of any system, or an address."""
    if "://" in name or name.startswith("/data/"):
        local = re.search(r"[?&]d=([^&]*)", name)  # Label Studio's address of a file on its own disk
        name = unquote(local[1] if local else re.split(r"[?#]", name)[0])
    return name.replace("\\", "/").strip("/")
