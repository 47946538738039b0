// Relative gives the files in the payload of each rpm that it is handed relative
// names, as rpmbuild does: "./usr/bin/rsagent". nfpm writes absolute ones, and so
// whoever unpacks such an rpm by rpm2cpio and cpio writes over the own system.
package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path"

	"github.com/cavaliergopher/cpio"
)

func main() {
	for _, file := range os.Args[1:] {
		if err := rewrite(file); err != nil {
			fmt.Fprintf(os.Stderr, "cannot make the names in %s relative: %v\n", file, err)
			os.Exit(2)
		}
	}
}

func rewrite(file string) error {
	whole, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	p, err := split(whole)
	if err != nil {
		return err
	}
	payload, err := relative(p.payload)
	if err != nil {
		return err
	}
	if err := p.replacePayload(payload); err != nil {
		return err
	}
	return os.WriteFile(file, bytes.Join([][]byte{p.lead, p.signature, p.header, p.payload}, nil), 0o644)
}

// rpm is a package in its parts, in their order.
type rpm struct {
	lead      []byte
	signature []byte // digests and sizes, with what pads it to 8 bytes
	header    []byte
	payload   []byte // a cpio in gzip
}

const leadSize = 96

func split(whole []byte) (rpm, error) {
	if len(whole) < leadSize {
		return rpm{}, errors.New("it is no rpm")
	}
	lead, rest := whole[:leadSize], whole[leadSize:]
	n, err := indexSize(rest)
	if err != nil {
		return rpm{}, err
	}
	n = min((n+7)/8*8, len(rest))
	signature, rest := rest[:n], rest[n:]
	if n, err = indexSize(rest); err != nil {
		return rpm{}, err
	}
	return rpm{lead, signature, rest[:n], rest[n:]}, nil
}

// What an index begins with, and how large that and each of its entries are.
const indexStart, entrySize = 16, 16

var magic = []byte{0x8e, 0xad, 0xe8, 1, 0, 0, 0, 0}

// indexSize is the size of the index at the start of b.
func indexSize(b []byte) (int, error) {
	if len(b) < indexStart || !bytes.HasPrefix(b, magic) {
		return 0, errors.New("it is no rpm: an index is missing")
	}
	entries := uint64(binary.BigEndian.Uint32(b[8:]))
	data := uint64(binary.BigEndian.Uint32(b[12:]))
	size := indexStart + entries*entrySize + data
	if size > uint64(len(b)) {
		return 0, errors.New("it is cut short")
	}
	return int(size), nil
}

// relative gives each file of a payload its relative name.
func relative(payload []byte) ([]byte, error) {
	unzipped, err := gzip.NewReader(bytes.NewReader(payload))
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	zipped, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	from, to := cpio.NewReader(unzipped), cpio.NewWriter(zipped)
	for {
		h, err := from.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		if h.Linkname != "" {
			return nil, fmt.Errorf("%s is a link, which this does not know", h.Name)
		}
		h.Name = "./" + path.Join("/", h.Name)[1:]
		if err := to.WriteHeader(h); err != nil {
			return nil, err
		}
		if _, err := io.Copy(to, from); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(to.Close(), zipped.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// sigSize is the tag of the size of header and payload.
const sigSize = 1000

// replacePayload puts in another payload, and all that says what it is.
func (p *rpm) replacePayload(payload []byte) error {
	header, err := replaceDigest(p.header, p.payload, payload)
	if err != nil {
		return fmt.Errorf("the digest of the payload: %w", err)
	}
	signature, err := replaceDigest(p.signature, p.header, header)
	if err != nil {
		return fmt.Errorf("the digest of the header: %w", err)
	}
	if err := setNumber(signature, sigSize, uint32(len(header)+len(payload))); err != nil {
		return err
	}
	p.signature, p.header, p.payload = signature, header, payload
	return nil
}

// replaceDigest returns the index with the digest of one thing in place of that
// of another. Both are of one length, so all else stays where it is.
func replaceDigest(index, of, by []byte) ([]byte, error) {
	before, after := digest(of), digest(by)
	if n := bytes.Count(index, before); n != 1 {
		return nil, fmt.Errorf("it is there %d times", n)
	}
	return bytes.Replace(index, before, after, 1), nil
}

func digest(b []byte) []byte {
	sum := sha256.Sum256(b)
	return []byte(hex.EncodeToString(sum[:]))
}

// setNumber sets the number of a tag in the index.
func setNumber(index []byte, tag, value uint32) error {
	entries := int(binary.BigEndian.Uint32(index[8:]))
	data := index[indexStart+entries*entrySize:]
	for i := range entries {
		entry := index[indexStart+i*entrySize:]
		if binary.BigEndian.Uint32(entry) == tag {
			binary.BigEndian.PutUint32(data[binary.BigEndian.Uint32(entry[8:]):], value)
			return nil
		}
	}
	return fmt.Errorf("it has no tag %d", tag)
}
