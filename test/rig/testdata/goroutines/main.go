// SPDX-License-Identifier: Apache-2.0

// A program with as many goroutines more as each line of its input says, until
// the next.
package main

import "fmt"

func main() {
	for {
		var count int
		if _, err := fmt.Scanln(&count); err != nil {
			return
		}
		over, ended := make(chan struct{}), make(chan struct{})
		for range count {
			go func() {
				<-over
				ended <- struct{}{}
			}()
		}
		fmt.Println(count)
		fmt.Scanln()
		close(over)
		for range count {
			<-ended
		}
		fmt.Println(0)
	}
}
