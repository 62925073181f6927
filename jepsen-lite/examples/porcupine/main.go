// Checks histories of registers with Porcupine, to compare it with `jepsen-lite check`: the same files, the same meaning.
//
// It is a command inside of Porcupine's own module, so it needs a clone of that and nothing else:
//
//	git clone https://github.com/anishathalye/porcupine && cd porcupine && git checkout 55508eb
//	mkdir -p cmd/compare && cp …/jepsen-lite/examples/porcupine/main.go cmd/compare/ && go build -o compare ./cmd/compare
//	./compare [-limit 60s] FILE.jsonl…
//
// Prints for each file the verdict, and what reading and checking took. Keys are Porcupine's partitions, states have a hash:
// both are what its documentation advises. What failed is left out; what ended unknown returns at the end, and a read of
// unknown outcome is left out.
//
// Leaves out: histories of anything else; `jepsen-lite convert` brings logs of etcd into this form.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/anishathalye/porcupine"
)

type event struct {
	Process int64           `json:"process"`
	Type    string          `json:"type"`
	F       string          `json:"f"`
	Key     json.RawMessage `json:"key"`
	Value   json.RawMessage `json:"value"`
	Result  *bool           `json:"result"`
}

type input struct {
	f    byte // r, w, c
	key  int
	from int // of a compare-and-set
	to   int // of a write and of a compare-and-set
}

type output struct {
	value   int
	swapped bool
	unknown bool
}

var register = porcupine.Model{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		var parts [][]porcupine.Operation
		for _, operation := range history {
			key := operation.Input.(input).key
			for len(parts) <= key {
				parts = append(parts, nil)
			}
			parts[key] = append(parts[key], operation)
		}
		return parts
	},
	Init: func() interface{} { return 0 }, // the number of null
	Step: func(state, in, out interface{}) (bool, interface{}) {
		now, asked, told := state.(int), in.(input), out.(output)
		switch asked.f {
		case 'r':
			return told.value == now, state
		case 'w':
			return true, asked.to
		default:
			swaps := asked.from == now
			right := told.unknown || told.swapped == swaps
			if swaps {
				return right, asked.to
			}
			return right, state
		}
	},
	Hash: func(state interface{}) uint64 { return uint64(state.(int)) },
}

// Numbers for values and for keys.
type numbers map[string]int

func (all numbers) of(text json.RawMessage) int {
	name := string(text)
	if name == "" {
		name = "null"
	}
	number, known := all[name]
	if !known {
		number = len(all)
		all[name] = number
	}
	return number
}

func read(name string) ([]porcupine.Operation, int, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, 0, err
	}
	defer file.Close()
	var history []porcupine.Operation
	values, keys := numbers{"null": 0}, numbers{}
	open, gone, count := map[int64]int{}, map[int]bool{}, 0
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, 1<<20)
	for at := int64(0); lines.Scan(); at++ {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			return nil, 0, err
		}
		if e.Type == "invoke" {
			in := input{f: e.F[0], key: keys.of(e.Key)}
			switch in.f {
			case 'w':
				in.to = values.of(e.Value)
			case 'c':
				var pair [2]json.RawMessage
				if err := json.Unmarshal(e.Value, &pair); err != nil {
					return nil, 0, err
				}
				in.from, in.to = values.of(pair[0]), values.of(pair[1])
			}
			open[e.Process] = len(history)
			history = append(history, porcupine.Operation{ClientId: int(e.Process), Input: in, Call: at})
			count++
			continue
		}
		index := open[e.Process]
		delete(open, e.Process)
		operation := &history[index]
		unknown := e.Type == "info"
		if e.Type == "fail" || unknown && operation.Input.(input).f == 'r' {
			gone[index] = true
			continue
		}
		out := output{unknown: unknown, swapped: e.Result != nil && *e.Result}
		operation.Return = at
		if unknown {
			operation.Return = 1 << 62
		} else if operation.Input.(input).f == 'r' {
			out.value = values.of(e.Value)
		}
		operation.Output = out
	}
	for _, index := range open {
		history[index].Output, history[index].Return = output{unknown: true}, 1<<62
		gone[index] = history[index].Input.(input).f == 'r'
	}
	var kept []porcupine.Operation
	for index, operation := range history {
		if !gone[index] {
			kept = append(kept, operation)
		}
	}
	return kept, count, lines.Err()
}

func main() {
	limit := flag.Duration("limit", time.Minute, "the longest that one check may take")
	flag.Parse()
	for _, name := range flag.Args() {
		start := time.Now()
		history, count, err := read(name)
		if err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
			os.Exit(2)
		}
		reading := time.Since(start)
		start = time.Now()
		verdict := porcupine.CheckOperationsTimeout(register, history, *limit)
		checking := time.Since(start)
		rate := float64(count) / checking.Seconds()
		fmt.Printf("%s: %v: %d operations, read in %.4f s, checked in %.4f s, %.0f operations/s\n",
			name, verdict, count, reading.Seconds(), checking.Seconds(), rate)
	}
}
