"""The products that a new shop begins with."""

from .product import Product

BUILT_IN = (
    Product(1, "Wireless Keyboard", 7999, "Full size, quiet keys, three devices at the press of a button."),
    Product(2, "USB-C Hub", 4999, "HDMI, two USB-A ports, card reader and 100 W pass-through charging."),
    Product(3, "Wireless Mouse", 3499, "Fits either hand and runs for a year on one battery."),
    Product(4, "27-inch Monitor", 32900, "A matt 1440p panel on a stand that turns, tilts and rises."),
    Product(5, "Laptop Stand", 3990, "Folded aluminium that lifts the screen to eye level."),
    Product(6, "Webcam", 6450, "1080p with a shutter that you can see is closed."),
    Product(7, "Headset", 8900, "Closed headphones with a microphone that swings out of the way."),
    Product(8, "Desk Lamp", 5495, "Warm to cold light, dimmed by touch, with a heavy foot."),
    Product(9, "Desk Mat", 1999, "Wool felt, 80 by 30 centimetres, easy on wrists and table."),
    Product(10, "USB-C Cable, 2 m", 1290, "Braided and rated for 100 W, with a strap to keep it tidy."),
    Product(11, "Charger, 65 W", 3799, "Two USB-C ports and one USB-A in a plug the size of an egg."),
    Product(12, "Power Bank, 20 Ah", 4590, "Charges a laptop once or a phone four times."),
    Product(13, "Portable SSD, 1 TB", 9490, "As small as a matchbox, 1,000 MB a second, drop-proof."),
    Product(14, "USB Stick, 128 GB", 1650, "USB-A at one end and USB-C at the other."),
    Product(
        15, "Memory Card, 256 GB", 2895, "Fast enough for 4K video, with an adapter for full-size slots."
    ),
    Product(16, "Network Cable, 5 m", 890, "Cat 6A with latches that do not break off."),
    Product(17, "Wi-Fi Router", 11900, "Wi-Fi 6, four network ports, seven years of updates."),
    Product(18, "Bluetooth Speaker", 5990, "Fits a bicycle's bottle cage and shrugs off the rain."),
    Product(19, "E-Book Reader", 13999, "A seven-inch page that reads like paper, in sun and by night."),
    Product(20, "Screen Cleaning Kit", 1150, "A spray without alcohol and two microfibre cloths."),
    Product(21, "Cable Clips, 20 pieces", 695, "Stick under the desk and hold up to three cables each."),
    Product(22, "Monitor Arm", 8490, "Clamps to the desk and carries screens of up to nine kilograms."),
    Product(23, "Backpack, 22 l", 7490, "A padded sleeve for a 16-inch laptop and a pocket for its cables."),
    Product(24, "Notebook, dotted", 1000, "160 numbered pages that lie flat, for what belongs on paper."),
)
"""Two dozen products; the first two are those of the exercise."""
