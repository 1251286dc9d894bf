"""The ICRC of each packet of a capture file whose packets begin with an IP header.

Prints a line per packet: by the recipe (InfiniBand volume 1, annex A17.3.3) with nothing but zlib's CRC-32, and by
scapy's RoCE layer, "-" where there is none or it cannot. Both as the four bytes at the end of a packet would be read
in little-endian order.
"""

import struct
import sys
import zlib

PCAP_HEADER = 24
RECORD_HEADER = 16


def packets(path):
    data = open(path, "rb").read()
    at = PCAP_HEADER
    while at < len(data):
        length = struct.unpack_from("<I", data, at + 8)[0]
        at += RECORD_HEADER
        yield data[at : at + length]
        at += length


def by_recipe(packet):
    masked = bytearray(packet[:-4])
    if packet[0] >> 4 == 4:
        udp = 20
        masked[1] = 0xFF  # type of service
        masked[8] = 0xFF  # time to live
        masked[10:12] = b"\xff\xff"  # checksum
    else:
        udp = 40
        masked[0:4] = b"\x6f\xff\xff\xff"  # traffic class and flow label
        masked[7] = 0xFF  # hop limit
    masked[udp + 6 : udp + 8] = b"\xff\xff"  # checksum
    masked[udp + 8 + 4] = 0xFF  # FECN, BECN, reserved
    return zlib.crc32(b"\xff" * 8 + bytes(masked))


def with_scapy():
    try:
        from scapy.contrib.roce import BTH
        from scapy.layers.inet import IP
        from scapy.layers.inet6 import IPv6
    except ImportError:
        return lambda packet: None

    def compute(packet):
        parsed = (IP if packet[0] >> 4 == 4 else IPv6)(packet)
        icrc = parsed[BTH].compute_icrc(None)
        return struct.unpack("<I", icrc)[0]

    return compute


def main():
    by_scapy = with_scapy()
    for packet in packets(sys.argv[1]):
        scapy = by_scapy(packet)
        # An older scapy says 0 for IPv6, and means that it does not know.
        print("%08x" % by_recipe(packet), "%08x" % scapy if scapy else "-")


main()
