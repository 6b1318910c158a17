# Part of `run`: what `scan` and `read` find on the lines of the running gateway, whose slaves are other people's.

# `finds LINE PROTOCOL EXPECTED OPTION…`: each line of EXPECTED is in the facts or values of a meter that the scan finds.
finds() {
    timeout 60 "$smallbrain" scan "$1" --socket "$work/store/smallbrain.sock" --protocol "$2" --json "${@:4}" >"$work/found"
    "$python" "$here/pulled.py" found "$work/found" "$3"
}
check "scan: the units of pymodbus, by their devices" finds bus1 modbus "1 meter-1, 2 climate-1" --units 1-2
check "scan: the meter of dlt645, by its device" finds bus2 dlt645 "201000000012 electricity-1" --baud 9600 --parity none

# `reads VALUE LINE WHAT…`: one value, now.
reads() {
    timeout 30 "$smallbrain" read "${@:2}" --socket "$work/store/smallbrain.sock" --json >"$work/read" &&
        "$python" "$here/pulled.py" one "$work/read" "$1"
}
check "read: a register of a device" reads 230.7 bus1 meter-1 f32
check "read: a register of any unit" reads 305419896 bus1 --modbus 1 holding:2:u32:CDAB
check "read: a coil of any unit" reads true bus1 --modbus 1 coil:2
check "read: an item of a device" reads 123456.78 bus2 electricity-1 energy
check "read: an identifier of any meter" reads 229.8 bus2 --dlt645 201000000012 02010200
refuses_to_read() { # PATTERN, then what to read
    ! timeout 30 "$smallbrain" read "${@:2}" --socket "$work/store/smallbrain.sock" >"$work/read" 2>&1 && grep -q "$1" "$work/read"
}
check "read: pymodbus' exception is told" refuses_to_read "(code 2)" bus1 --modbus 1 holding:20
check "read: dlt645's error is told" refuses_to_read "(code 2)" bus2 --dlt645 201000000012 0201ff00
check "pymodbus: its counter goes on rising meanwhile" wait_for 20 pulled rising meter-1 pulses 5
