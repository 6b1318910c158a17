"""Other people's masters against `smallbrain simulate bus --fixed`: usage masters.py modbus|dlt645|mbus TTY.

pymodbus reads unit 1, the PyPI package dlt645 the meter 201000000012, pyMeterBus the heat meter 5. What must come is what
`smallbrain simulate bus --help` says of the meters; with --fixed each number is made of the meter's seed and the item's code:
4901 is item 1 of the seed 201000000012, 501 item 1 of the seed 5.
"""

import sys
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import meterbus
import serial
from dlt645 import DLT645Protocol, MeterClientService
from pymodbus.client import ModbusSerialClient

from checks import check, run

PATIENCE_S = 3

NUMBERS = [
    (0x0000_0000, "490000.00"),
    (0x0001_0000, "490100.00"),
    (0x0002_0000, "490200.00"),
    (0x0201_0100, "491.1"),
    (0x0201_0300, "491.3"),
    (0x0202_0100, "4.921"),
    (0x0203_0000, "0.4930"),
    (0x0206_0000, "4.960"),
    (0x0280_0002, "49.92"),
    (0x0280_0007, "499.7"),
]
# The second has a date and time too, which moves.
TELEGRAMS = [
    [("m^3", "0.501"), ("Wh", "502000"), ("m^3/h", "0.503"), ("C", "50.4")],
    [("C", "50.5"), ("W", "50600"), ("m^3", "0.507")],
]


def modbus(tty):
    client = ModbusSerialClient(tty, baudrate=9600, parity="N", timeout=PATIENCE_S, retries=0)
    assert client.connect(), f"{tty} does not open"
    first = client.read_input_registers(0, count=8, device_id=1).registers
    again = client.read_holding_registers(0, count=8, device_id=1).registers
    temperature, humidity = first[0], client.convert_from_registers(first[6:], client.DATATYPE.FLOAT32, word_order="little")
    check("pymodbus as master: temperature and humidity belong together", abs(humidity - (700 - temperature) / 10) < 1e-5, first)
    counters = [client.convert_from_registers(words[2:4], client.DATATYPE.UINT32) for words in (first, again)]
    check("pymodbus as master: a counter in two registers", counters[0] <= counters[1] < counters[0] + 100, counters)
    check("pymodbus as master: both tables of registers", first[4] == again[4] == 230, [first[4], again[4]])
    coils = client.read_coils(0, count=8, device_id=1).bits
    inputs = client.read_discrete_inputs(2, count=6, device_id=1).bits
    # They change once a minute, perhaps just here.
    coils_again = client.read_coils(0, count=8, device_id=1).bits
    check("pymodbus as master: both tables of bits", inputs[:6] in (coils[2:], coils_again[2:]), f"{coils} and {inputs}")
    absent = client.read_holding_registers(9, count=1, device_id=1)
    check("pymodbus as master: an absent register is refused", absent.isError() and absent.exception_code == 2, absent)
    written = client.write_registers(4, [1, 2], device_id=1)
    check("pymodbus as master: a write is refused", written.isError() and written.exception_code == 1, written)
    client.close()


def dlt645(tty):
    client = MeterClientService.new_rtu_client(tty, 2400, 8, 1, "N", PATIENCE_S)
    # It shows addresses as they are on the wire, low byte first.
    address = client.read_address()
    shown = address and bytes.fromhex(address.value)[::-1].hex()
    check("dlt645 as master: the address, asked at AA…AA", shown == "201000000012", shown)
    for identifier, wanted in NUMBERS:
        read = client.read_00 if identifier >> 24 == 0 else client.read_02
        item = read(identifier)
        found = item and Decimal(str(item.value))
        check(f"dlt645 as master: {identifier:08x} is {wanted}", found == Decimal(wanted), item)
    number = client.read_04(0x0400_0401)
    check("dlt645 as master: the address as an item", number and number.value == "201000000012", number)
    date, time = client.read_04(0x0400_0101), client.read_04(0x0400_0102)
    shown = date and time and datetime.strptime(date.value[:6] + time.value, "%y%m%d%H%M%S")
    now = datetime.now(timezone(timedelta(hours=8))).replace(tzinfo=None)
    near = shown and abs(now - shown) < timedelta(minutes=1) and date.value[6:] == shown.strftime("0%w")
    check("dlt645 as master: date, day of the week and time", near, f"{date and date.value} {time and time.value}")

    def refusal():
        """Control code and error of the last answer: the client itself tells nothing of either."""
        frame = DLT645Protocol.deserialize(client.get_captured_rx_messages()[-1].data)
        return frame.ctrl_code, bytes(frame.data)

    client.enable_message_capture()
    client.read_02(0x0208_0100)
    check("dlt645 as master: an identifier that is not there is error 02", refusal() == (0xD1, b"\x02"), refusal())
    client.write_04(0x0400_0103, "15", "04000000")
    check("dlt645 as master: a write is error 04, not authorised", refusal() == (0xD4, b"\x04"), refusal())


def mbus(tty):
    with serial.Serial(tty, 2400, timeout=PATIENCE_S) as port:
        meterbus.send_ping_frame(port, 5)
        answer = meterbus.load(meterbus.recv_frame(port))
        check("pyMeterBus: a link reset is acknowledged", isinstance(answer, meterbus.TelegramACK), answer)
        question = None
        for number, wanted in enumerate(TELEGRAMS, start=1):
            # The same question with the other frame count bit asks for the next telegram.
            question = meterbus.send_request_frame_multi(port, 5, question)
            question.header.cField.parts[0] ^= meterbus.CONTROL_MASK_FCB
            frame = meterbus.load(meterbus.recv_frame(port, meterbus.FRAME_DATA_LENGTH))
            numbers = [(record.unit, record.value) for record in frame.records if isinstance(record.value, Decimal)]
            # It multiplies as floats do.
            found = [(unit, f"{round(value, 6).normalize():f}") for unit, value in numbers]
            check(f"pyMeterBus: the numbers of telegram {number}", found == wanted, found)
            more = number < len(TELEGRAMS)
            check(f"pyMeterBus: telegram {number} of {len(TELEGRAMS)}", frame.more_records_follow == more, frame.to_JSON())


MASTERS = {"modbus": modbus, "dlt645": dlt645, "mbus": mbus}
run(sys.argv[1], lambda: MASTERS[sys.argv[1]](sys.argv[2]))
