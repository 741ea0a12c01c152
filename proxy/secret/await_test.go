// SPDX-License-Identifier: Apache-2.0

package secret

import (
	"fmt"
	"os"
	"strconv"

	"github.com/godbus/dbus/v5"
)

// awaitStage is this test binary as a user's program on a session bus: argv =
// stage, address, and either "await", to end when a Secret Service is there, or
// "mute", to be a prompter that accepts every call and answers none, until
// stdin ends. It prints one line when it has what it wants.
const awaitStage = "secret.test: await"

func awaitMain() {
	conn, err := dbus.Dial(os.Args[1])
	if err == nil {
		err = conn.Auth([]dbus.Auth{dbus.AuthExternal(strconv.Itoa(os.Geteuid()))})
	}
	if err == nil {
		err = conn.Hello()
	}
	if err == nil && os.Args[2] == "mute" {
		err = beMute(conn)
	} else if err == nil {
		err = awaitService(conn)
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(0)
}

func awaitService(conn *dbus.Conn) error {
	changes := make(chan *dbus.Signal, 64)
	conn.Signal(changes)
	err := conn.AddMatchSignal(dbus.WithMatchInterface("org.freedesktop.DBus"),
		dbus.WithMatchMember("NameOwnerChanged"), dbus.WithMatchArg(0, serviceName))
	if err != nil {
		return err
	}
	var there bool
	if err := conn.BusObject().Call("org.freedesktop.DBus.NameHasOwner", 0, serviceName).Store(&there); err != nil {
		return err
	}
	for !there {
		change := <-changes
		there = change.Body[0] == serviceName && change.Body[2] != ""
	}
	fmt.Println("there")
	return nil
}

func beMute(conn *dbus.Conn) error {
	reply, err := conn.RequestName("org.gnome.keyring.SystemPrompter", dbus.NameFlagDoNotQueue)
	if err != nil || reply != dbus.RequestNameReplyPrimaryOwner {
		return fmt.Errorf("own the prompter's name: %v, %w", reply, err)
	}
	calls := make(chan *dbus.Message, 64)
	conn.Eavesdrop(calls)
	go func() {
		for range calls {
		}
	}()
	fmt.Println("mute")
	os.Stdin.Read(make([]byte, 1))
	return nil
}
