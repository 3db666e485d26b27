"""Files that describe own data in tests; images are 64x32."""

CLASSES = {
    "classes": [{"name": "road", "color": [128, 64, 128]}, {"name": "sky", "id": 7, "color": [70, 130, 180]}],
    "void": [9],
    "void_color": [0, 0, 0],
}
CAMERA = {"fx": 50, "fy": 60, "cx": 30.5, "cy": 15.5, "width": 64, "height": 32}
