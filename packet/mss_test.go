package packet

import "testing"

func TestTheMSSThatASegmentAnnounces(t *testing.T) {
	segment := func(options ...byte) Header {
		b := make([]byte, 20, 60)
		for len(options)%4 != 0 {
			options = append(options, 0)
		}
		b = append(b, options...)
		b[12] = byte(len(b)/4) << 4
		return Header{Body: b}
	}
	syn, ok := Parse(Segment{From: client, To: service, Flags: SYN}.Packet())
	if !ok {
		t.Fatal("cannot read a segment")
	}
	longer := segment(2, 4, 0x05, 0xa0)
	longer.Body[12] = 0xf0
	shorter := segment(2, 4, 0x05, 0xa0)
	shorter.Body[12] = 0x10
	for _, x := range []struct {
		name   string
		header Header
		want   int
	}{
		{"one of this package", syn, 1460},
		{"after others", segment(1, 1, 4, 2, 3, 3, 7, 2, 4, 0x05, 0xa0), 1440},
		{"none", segment(4, 2, 1, 3, 3, 7), 0},
		{"behind the end", segment(0, 2, 4, 0x05, 0xa0), 0},
		{"an option that is too long", segment(8, 200, 2, 4, 0x05, 0xa0), 0},
		{"an option of no length", segment(8, 0, 2, 4), 0},
		{"options that are cut off", longer, 1440},
		{"a header that says it is shorter", shorter, 0},
		{"no header", Header{Body: []byte{1, 2}}, 0},
	} {
		t.Run(x.name, func(t *testing.T) {
			if got := x.header.MSS(); got != x.want {
				t.Errorf("got %d, want %d", got, x.want)
			}
		})
	}
}
