// A MongoDB-compatible server for tests: FerretDB on SQLite files, behind a proxy that lets one command through
// at a time. FerretDB 1.x changes a document by reading, changing and writing it without a transaction, so two
// filtered updates at once could both succeed, which MongoDB never lets happen.
package main

import (
	"context"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/FerretDB/FerretDB/ferretdb"
)

const (
	headerSize  = 16         // messageLength, requestID, responseTo, opCode: four little-endian int32
	maxMessage  = 48_000_000 // MongoDB's maxMessageSizeBytes
	opMsg       = 2013
	moreToCome  = 1 << 1 // in an OP_MSG's flags: no reply follows
	backendName = "ferretdb.sock"
)

func main() {
	listen := flag.String("listen", "127.0.0.1:27017", "address to listen on")
	folder := flag.String("folder", ".", "folder for the data")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *listen, *folder); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, listen, folder string) error {
	socket := filepath.Join(folder, backendName)
	if err := os.Remove(socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err // a killed run may have left it
	}
	database, err := ferretdb.New(&ferretdb.Config{
		Listener:  ferretdb.ListenerConfig{Unix: socket},
		Logger:    slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
		Handler:   "sqlite",
		SQLiteURL: "file:" + folder + "/",
	})
	if err != nil {
		return err
	}
	stopped := make(chan error, 1)
	go func() { stopped <- database.Run(ctx) }()
	database.MongoDBURI() // waits until it listens
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", listen)
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { listener.Close() })
	turnstile := &turnstile{socket: socket}
	for {
		client, err := listener.Accept()
		if err != nil {
			break
		}
		go turnstile.serve(ctx, client)
	}
	return <-stopped
}

// turnstile lets one command at a time reach the database, whatever connection it comes from.
type turnstile struct {
	socket string
	turn   sync.Mutex
}

// serve passes on a client's commands and their replies until one side hangs up.
func (t *turnstile) serve(ctx context.Context, client net.Conn) {
	defer client.Close()
	backend, err := new(net.Dialer).DialContext(ctx, "unix", t.socket)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return
	}
	defer backend.Close()
	for {
		command, err := readMessage(client)
		if err != nil {
			return
		}
		reply, err := t.pass(backend, command)
		if err != nil {
			return
		}
		if _, err := client.Write(reply); err != nil {
			return
		}
	}
}

// pass gives one command to the database and waits for its complete reply, if there is one.
func (t *turnstile) pass(backend net.Conn, command []byte) ([]byte, error) {
	t.turn.Lock()
	defer t.turn.Unlock()
	if _, err := backend.Write(command); err != nil {
		return nil, err
	}
	if !expectsReply(command) {
		return nil, nil
	}
	return readMessage(backend)
}

func expectsReply(command []byte) bool {
	if binary.LittleEndian.Uint32(command[12:]) != opMsg || len(command) < headerSize+4 {
		return true
	}
	return binary.LittleEndian.Uint32(command[headerSize:])&moreToCome == 0
}

func readMessage(from io.Reader) ([]byte, error) {
	header := make([]byte, headerSize)
	if _, err := io.ReadFull(from, header); err != nil {
		return nil, err
	}
	size := binary.LittleEndian.Uint32(header)
	if size < headerSize || size > maxMessage {
		return nil, fmt.Errorf("a message of %d bytes", size)
	}
	message := make([]byte, size)
	copy(message, header)
	_, err := io.ReadFull(from, message[headerSize:])
	return message, err
}
