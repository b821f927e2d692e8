"""comfylatch's companion node: "Upload Image Incognito".

Put here by "comfylatch node install", taken out by "comfylatch node remove".
"""

from .incognito import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS, register

register()

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
