package packet

import "encoding/binary"

// MSS is the maximum segment size that a TCP segment announces: RFC 9293, section
// 3.2. 0: it announces none, or its options are cut off before that.
func (h Header) MSS() int {
	const end, nothing, maximum, fixed = 0, 1, 2, 20
	b := h.Body
	if len(b) < fixed {
		return 0
	}
	options := b[fixed:min(len(b), max(fixed, int(b[12]>>4)*4))]
	for len(options) >= 2 {
		kind, length := options[0], int(options[1])
		switch {
		case kind == end:
			return 0
		case kind == nothing:
			length = 1
		case length < 2 || length > len(options):
			return 0
		case kind == maximum && length == 4:
			return int(binary.BigEndian.Uint16(options[2:]))
		}
		options = options[length:]
	}
	return 0
}
