// Command clients follows a stream with one of the Go clients: clients NAME URL. It prints a line of JSON for everything it gets.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	ld "github.com/launchdarkly/eventsource"
	r3 "github.com/r3labs/sse/v2"
	tm "github.com/tmaxmax/go-sse"
	"gopkg.in/cenkalti/backoff.v1"
)

const retry = 40 * time.Millisecond

// handled is the highest revision that was printed.
var handled int

// got prints what came, and waits for ever at the end of the stream.
func got(event, data string) {
	if event == "" || event == "message" {
		var stored struct{ Revision int }
		if json.Unmarshal([]byte(data), &stored) != nil || stored.Revision <= handled {
			return // r3labs/sse hands out what is left of a frame that was cut, and then the whole one
		}
		handled = stored.Revision
		fmt.Printf("{\"revision\": %d, \"bytes\": %d}\n", stored.Revision, len(data))
		return
	}
	if event == "reset" {
		handled = 0
	}
	fmt.Printf("{\"control\": %q}\n", event)
	if event == "end" && !strings.Contains(data, "shutdown") { // a server that stops asks to come again
		select {}
	}
}

func launchdarkly(url string) {
	request, _ := http.NewRequest("GET", url, nil)
	stream, err := ld.SubscribeWithRequestAndOptions(request,
		ld.StreamOptionInitialRetry(retry),
		ld.StreamOptionErrorHandler(func(error) ld.StreamErrorHandlerResult { return ld.StreamErrorHandlerResult{} }))
	if err != nil {
		panic(err)
	}
	for event := range stream.Events {
		got(event.Event(), event.Data())
	}
}

func r3labs(url string) {
	client := r3.NewClient(url, r3.ClientMaxBufferSize(1<<20))
	client.ReconnectStrategy = backoff.NewConstantBackOff(retry)
	for {
		// Without a stream's name the URL stays as it is.
		_ = client.SubscribeRaw(func(event *r3.Event) { got(string(event.Event), string(event.Data)) })
		time.Sleep(retry)
	}
}

func tmaxmax(url string) {
	request, _ := http.NewRequestWithContext(context.Background(), "GET", url, nil)
	client := tm.Client{Backoff: tm.Backoff{InitialInterval: retry, Multiplier: 1, MaxRetries: -1}}
	connection := client.NewConnection(request)
	connection.Buffer(nil, 1<<20)
	connection.SubscribeToAll(func(event tm.Event) { got(event.Type, event.Data) })
	for {
		_ = connection.Connect()
		time.Sleep(retry)
	}
}

func main() {
	follow := map[string]func(string){"launchdarkly/eventsource": launchdarkly, "r3labs/sse": r3labs, "tmaxmax/go-sse": tmaxmax}
	follow[os.Args[1]](os.Args[2])
}
