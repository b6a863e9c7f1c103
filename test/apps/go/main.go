// Answers "Hello from go".
package main

import (
	"fmt"
	"log"
	"net/http"
	"os"
)

func main() {
	greeting := os.Getenv("GREETING")
	if greeting == "" {
		greeting = "Hello"
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%s from go %s\n", greeting, r.URL.Path)
	})
	port := os.Getenv("PORT")
	fmt.Println("listening on " + port)
	log.Fatal(http.ListenAndServe(":"+port, nil))
}
