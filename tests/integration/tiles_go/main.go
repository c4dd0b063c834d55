// A second opinion on published logs: Go's own code for transparency logs, which shares nothing with este's.
//
// Given the folder of one log, its verifier key and, if there is one, an older note of the same log, it verifies the
// checkpoint's signature, every tile against its root, that every entry which is published is included, and that the
// log goes on from the older note.
package main

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

// folder reads the tiles of a published log. Go's paths name the tiles' height, those of c2sp.org/tlog-tiles do not.
type folder string

func (f folder) Height() int { return height }

func (f folder) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range tiles {
		path := strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/", height), "tile/", 1)
		data, err := os.ReadFile(filepath.Join(string(f), path))
		if err != nil {
			return nil, err
		}
		all = append(all, data)
	}
	return all, nil
}

func (f folder) SaveTiles([]tlog.Tile, [][]byte) {}

// entries reads the bundle at index n of a log of a certain size, in whichever of its two places it lies.
func (f folder) entries(n, size int64) ([][]byte, error) {
	width := size - n*256
	if width > 256 {
		width = 256
	}
	suffix := strings.TrimPrefix(tlog.Tile{H: height, L: 0, N: n, W: int(width)}.Path(), fmt.Sprintf("tile/%d/0/", height))
	length := 2
	data, err := os.ReadFile(filepath.Join(string(f), "tile/entries", suffix))
	if err != nil {
		length = 4
		if data, err = os.ReadFile(filepath.Join(string(f), "tile/large-entries", suffix)); err != nil {
			return nil, err
		}
	}
	var all [][]byte
	for len(data) > 0 {
		var size int
		if length == 2 {
			size = int(binary.BigEndian.Uint16(data))
		} else {
			size = int(binary.BigEndian.Uint32(data))
		}
		all = append(all, data[length:length+size])
		data = data[length+size:]
	}
	if int64(len(all)) != width {
		return nil, fmt.Errorf("%d entries in bundle %d of width %d", len(all), n, width)
	}
	return all, nil
}

func open(path, vkey string) (tlog.Tree, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return tlog.Tree{}, err
	}
	verifier, err := note.NewVerifier(vkey)
	if err != nil {
		return tlog.Tree{}, err
	}
	opened, err := note.Open(data, note.VerifierList(verifier))
	if err != nil {
		return tlog.Tree{}, err
	}
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() {
		return tlog.Tree{}, fmt.Errorf("not a checkpoint of %s: %q", verifier.Name(), opened.Text)
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	if err != nil {
		return tlog.Tree{}, err
	}
	root, err := base64.StdEncoding.DecodeString(lines[2])
	if err != nil || len(root) != tlog.HashSize {
		return tlog.Tree{}, fmt.Errorf("a root of %d bytes: %v", len(root), err)
	}
	tree := tlog.Tree{N: size}
	copy(tree.Hash[:], root)
	return tree, nil
}

func check(from folder, vkey string, olderPath string) (string, error) {
	tree, err := open(filepath.Join(string(from), "checkpoint"), vkey)
	if err != nil {
		return "", err
	}
	reader := tlog.TileHashReader(tree, from)
	_, err = os.Stat(filepath.Join(string(from), "tile", "entries"))
	_, largeErr := os.Stat(filepath.Join(string(from), "tile", "large-entries"))
	withEntries := err == nil || largeErr == nil
	included := 0
	for index := int64(0); index < tree.N; index++ {
		proof, err := tlog.ProveRecord(tree.N, index, reader)
		if err != nil {
			return "", fmt.Errorf("leaf %d: %w", index, err)
		}
		if !withEntries {
			continue
		}
		bundle, err := from.entries(index/256, tree.N)
		if err != nil {
			return "", err
		}
		if err := tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(bundle[index%256])); err != nil {
			return "", fmt.Errorf("entry %d: %w", index, err)
		}
		included++
	}
	if olderPath != "" {
		older, err := open(olderPath, vkey)
		if err != nil {
			return "", err
		}
		if older.N > 0 {
			proof, err := tlog.ProveTree(tree.N, older.N, reader)
			if err != nil {
				return "", err
			}
			if err := tlog.CheckTree(proof, tree.N, tree.Hash, older.N, older.Hash); err != nil {
				return "", fmt.Errorf("not a continuation of %d leaves: %w", older.N, err)
			}
		}
	}
	return fmt.Sprintf("%d leaves, %d entries included", tree.N, included), nil
}

func main() {
	log.SetFlags(0)
	if len(os.Args) < 3 {
		log.Fatal("usage: tiles FOLDER VERIFIER_KEY [OLDER_NOTE]")
	}
	older := ""
	if len(os.Args) > 3 {
		older = os.Args[3]
	}
	found, err := check(folder(os.Args[1]), os.Args[2], older)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(found)
}
