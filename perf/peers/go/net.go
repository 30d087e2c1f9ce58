package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
)

// underLoad serves each connection in a goroutine of its own while the load_client is at work.
func underLoad(r *repetition, what string, connections, amount int, serve func(net.Conn)) {
	listenUnderLoad(r, what, connections, amount, func(listener net.Listener) {
		for {
			peer, err := listener.Accept()
			if err != nil {
				return
			}
			go serve(peer)
		}
	})
}

// listenUnderLoad has connections accepted while the load_client is at work, which lies beside this program.
func listenUnderLoad(r *repetition, what string, connections, amount int, serve func(net.Listener)) {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	client := filepath.Join(filepath.Dir(self), "load_client")
	if _, err := os.Stat(client); err != nil {
		os.Exit(77)
	}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go serve(listener)
	if amount = r.amount(amount); amount < connections {
		amount = connections
	}
	port := listener.Addr().(*net.TCPAddr).Port
	before := processorTime()
	command := exec.Command(client, what, fmt.Sprint(port), fmt.Sprint(connections), fmt.Sprint(amount), "1")
	command.Stderr = os.Stderr
	out, err := command.Output()
	used := processorTime() - before
	listener.Close()
	if command.ProcessState != nil && command.ProcessState.ExitCode() == 77 {
		os.Exit(77) // it needs a tool that is not there
	}
	var taken, times float64
	if _, scanned := fmt.Sscan(string(out), &taken, &times); err != nil || scanned != nil {
		fmt.Fprintln(os.Stderr, "load_client has failed", err)
		os.Exit(1)
	}
	r.is(times/taken, amount)
	r.also("server_us", float64(used.Nanoseconds())/1e3/times)
}

func echo(connections, amount int) func(*repetition) {
	return func(r *repetition) {
		underLoad(r, "echo", connections, amount, func(peer net.Conn) {
			defer peer.Close()
			data := make([]byte, 4096)
			for {
				got, err := peer.Read(data)
				if err != nil {
					return
				}
				if _, err := peer.Write(data[:got]); err != nil {
					return
				}
			}
		})
	}
}

func acceptRate(r *repetition) {
	underLoad(r, "accept", 16, 20_000, func(peer net.Conn) { peer.Close() })
}

func httpHello(r *repetition) {
	handler := http.HandlerFunc(func(to http.ResponseWriter, _ *http.Request) {
		to.Header().Set("Content-Type", "text/plain")
		io.WriteString(to, "Hello, world!\n")
	})
	listenUnderLoad(r, "http", 64, 150_000, func(listener net.Listener) { http.Serve(listener, handler) })
}
