"""Products of a new shop."""

from cartapp.messages import _

from .product import Product

DEVICES, AUDIO, POWER = _("Devices"), _("Audio"), _("Power and cables")
STORAGE, DESK = _("Storage and network"), _("Around the desk")
PAPER, TRAVEL = _("Paper and pens"), _("On the go")

BUILT_IN = (
    Product(
        1,
        _("Wireless Keyboard"),
        7999,
        _("Full size, quiet keys, three devices at the press of a button."),
        DEVICES,
    ),
    Product(
        2,
        _("USB-C Hub"),
        4999,
        _("HDMI, two USB-A ports, card reader and 100 W pass-through charging."),
        DEVICES,
    ),
    Product(3, _("Wireless Mouse"), 3499, _("Fits either hand and runs for a year on one battery."), DEVICES),
    Product(
        4,
        _("27-inch Monitor"),
        32900,
        _("A matt 1440p panel on a stand that turns, tilts and rises."),
        DEVICES,
    ),
    Product(5, _("Laptop Stand"), 3990, _("Folded aluminium that lifts the screen to eye level."), DESK),
    Product(6, _("Webcam"), 6450, _("1080p with a shutter that you can see is closed."), DEVICES),
    Product(
        7, _("Headset"), 8900, _("Closed headphones with a microphone that swings out of the way."), AUDIO
    ),
    Product(8, _("Desk Lamp"), 5495, _("Warm to cold light, dimmed by touch, with a heavy foot."), DESK),
    Product(9, _("Desk Mat"), 1999, _("Wool felt, 80 by 30 centimetres, easy on wrists and table."), DESK),
    Product(
        10,
        _("USB-C Cable, 2 m"),
        1290,
        _("Braided and rated for 100 W, with a strap to keep it tidy."),
        POWER,
    ),
    Product(
        11, _("Charger, 65 W"), 3799, _("Two USB-C ports and one USB-A in a plug the size of an egg."), POWER
    ),
    Product(12, _("Power Bank, 20 Ah"), 4590, _("Charges a laptop once or a phone four times."), POWER),
    Product(
        13,
        _("Portable SSD, 1 TB"),
        9490,
        _("As small as a matchbox, 1,000 MB a second, drop-proof."),
        STORAGE,
    ),
    Product(14, _("USB Stick, 128 GB"), 1650, _("USB-A at one end and USB-C at the other."), STORAGE),
    Product(
        15,
        _("Memory Card, 256 GB"),
        2895,
        _("Fast enough for 4K video, with an adapter for full-size slots."),
        STORAGE,
    ),
    Product(16, _("Network Cable, 5 m"), 890, _("Cat 6A with latches that do not break off."), POWER),
    Product(17, _("Wi-Fi Router"), 11900, _("Wi-Fi 6, four network ports, seven years of updates."), STORAGE),
    Product(
        18, _("Bluetooth Speaker"), 5990, _("Fits a bicycle's bottle cage and shrugs off the rain."), AUDIO
    ),
    Product(
        19,
        _("E-Book Reader"),
        13999,
        _("A seven-inch page that reads like paper, in sun and by night."),
        DEVICES,
    ),
    Product(
        20, _("Screen Cleaning Kit"), 1150, _("A spray without alcohol and two microfibre cloths."), DESK
    ),
    Product(
        21,
        _("Cable Clips, 20 pieces"),
        695,
        _("Stick under the desk and hold up to three cables each."),
        DESK,
    ),
    Product(
        22, _("Monitor Arm"), 8490, _("Clamps to the desk and carries screens of up to nine kilograms."), DESK
    ),
    Product(
        23,
        _("Backpack, 22 l"),
        7490,
        _("A padded sleeve for a 16-inch laptop and a pocket for its cables."),
        TRAVEL,
    ),
    Product(
        24,
        _("Notebook, dotted"),
        1000,
        _("160 numbered pages that lie flat, for what belongs on paper."),
        PAPER,
    ),
    Product(
        25, _("Fountain Pen"), 2490, _("A steel nib and a piston, filled from any bottle of ink."), PAPER
    ),
    Product(
        26,
        _("Ceramic Mug"),
        1490,
        _("Holds 350 millilitres, and the heat; its handle fits four fingers."),
        TRAVEL,
    ),
    Product(
        27, _("Wall Clock"), 3290, _("Twenty-five centimetres of plain face, and no tick to be heard."), DESK
    ),
    Product(28, _("Desk Fan"), 2990, _("Three speeds from a whisper up, powered by any USB port."), DESK),
    Product(29, _("Footrest"), 4390, _("Beech that tilts with the feet and wakes the legs up."), DESK),
    Product(30, _("USB Microphone"), 9900, _("A cardioid capsule that hears you and not the room."), AUDIO),
    Product(
        31, _("Graphics Tablet"), 7990, _("A pen without a battery and 8,192 steps of pressure."), DEVICES
    ),
    Product(
        32, _("Power Strip"), 2790, _("Six sockets, two USB-C ports and one switch for them all."), POWER
    ),
    Product(
        33,
        _("Sticky Notes, 12 pads"),
        890,
        _("Four colours that hold on to walls and let go of paper."),
        PAPER,
    ),
    Product(34, _("Bookends, pair"), 2350, _("Bent steel with felt below, for a metre of books."), PAPER),
    Product(
        35,
        _("Water Bottle, 0.75 l"),
        2690,
        _("Double-walled steel: cold for a day, hot for an evening."),
        TRAVEL,
    ),
    Product(
        36,
        _("Pothos in a Pot"),
        1890,
        _("A plant that forgives holidays and grows towards the window."),
        DESK,
    ),
)
"""Sample products. The first two are those of the API examples."""

TEXTS = frozenset(text for one in BUILT_IN for text in (one.name, one.description, one.category))
"""Texts of the sample products, translated on pages."""
