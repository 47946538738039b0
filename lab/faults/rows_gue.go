package main

// tunnelBy has the director wrap what is for the node in another way.
func tunnelBy(kind string) string {
	return "for port in 80 443 8000; do ipvsadm -e -t 10.9.0.100:$port -r 10.9.0.31:$port -i -w 1 --tun-type " + kind + "; done"
}

func gueRows() []row {
	return []row{
		{name: "the director tunnels by GUE", at: director, inject: tunnelBy("gue --tun-port 5555"), busy: true,
			sees: some, id: "path/vanish", says: "the director wraps them in GUE in place of IPIP",
			words: "--tun-type ipip", undo: tunnelBy("ipip")},
	}
}
