package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"text/tabwriter"

	"golang.org/x/term"

	"comfylatch/internal/account"
	"comfylatch/internal/audit"
	"comfylatch/internal/config"
	"comfylatch/internal/login"
	"comfylatch/internal/people"
)

// runUser makes, lists, changes and removes accounts, beside a running gate
// too: that ends within a second what no longer may be.
func runUser(ctx context.Context, env Env) error {
	u := userCommand{env: env}
	cfg, words, err := config.ReadWords(env.Args, nil, config.Env{Getenv: env.Getenv, Workdir: env.Workdir}, func(f *flag.FlagSet) {
		f.BoolVar(&u.json, "json", false, "")
		f.StringVar(&u.role, "role", account.User.String(), "")
	})
	if err == nil {
		err = cfg.Resolve("127.0.0.1:8189", env.Getenv)
	}
	if err != nil {
		return err
	}
	u.cfg = cfg
	verbs := map[string]func(context.Context, string) error{"add": u.add, "passwd": u.passwd, "disable": u.disable, "enable": u.enable, "remove": u.remove, "role": u.setRole, "invite": u.invite}
	if len(words) == 0 || len(words) > 2 || (words[0] == "list") != (len(words) == 1) || len(words) == 2 && verbs[words[0]] == nil {
		return usagef("user %s: write user list, or user add, invite, passwd, role, disable, enable or remove with a NAME", strings.Join(words, " "))
	}
	db, err := openState(ctx, cfg)
	if err != nil {
		return err
	}
	defer db.Close()
	events := audit.New(db, slog.New(slog.DiscardHandler))
	u.people = people.New(people.Options{Store: db, Audit: events, Owner: login.OwnerName(cfg.State)})
	if words[0] == "list" {
		return u.list(ctx)
	}
	return errors.Join(verbs[words[0]](ctx, words[1]), events.Flush(ctx))
}

type userCommand struct {
	env    Env
	cfg    config.Config
	people *people.Service
	json   bool
	role   string
}

func (u *userCommand) say(format string, a ...any) { fmt.Fprintf(u.env.Stderr, format+"\n", a...) }

// find is an account by ID or name.
func (u *userCommand) find(ctx context.Context, name string) (account.Person, error) {
	p, err := u.people.Find(ctx, name)
	if errors.Is(err, account.ErrNotFound) {
		return p, fmt.Errorf("there is no account %q: see comfylatch user list (the owner's is the password file's)", name)
	}
	return p, err
}

func (u *userCommand) add(ctx context.Context, name string) error {
	role, err := account.ParseRole(u.role)
	if err != nil {
		return usagef("--role: %w", err)
	}
	p, err := u.people.Add(ctx, people.Command(), name, role, "")
	if err != nil {
		return err
	}
	u.say("Account %s (%s), role %s. Give them this link: it works once, for seven days.", p.ID, p.Name, p.Role)
	return u.link(ctx, p)
}

// invite makes another link for an account: an invitation where no password
// has been chosen yet, else a reset.
func (u *userCommand) invite(ctx context.Context, name string) error {
	p, err := u.find(ctx, name)
	if err != nil {
		return err
	}
	u.say("Give %s this link: it works once.", p.Name)
	return u.link(ctx, p)
}

func (u *userCommand) link(ctx context.Context, p account.Person) error {
	n := people.NewLink{Kind: account.Invitation, Role: p.Role, UserID: p.ID}
	if p.Password != "" {
		n.Kind = account.Reset
	}
	code, l, err := u.people.MakeLink(ctx, people.Command(), n)
	if err != nil {
		return err
	}
	address := u.base() + "/_latch/join?code=" + code.Reveal()
	if u.json {
		return writeJSON(u.env, map[string]any{"id": p.ID, "name": p.Name, "role": p.Role.String(), "link": address, "expires": stamp(l.ExpiresAt)})
	}
	fmt.Fprintln(u.env.Stdout, address)
	return nil
}

// base is where the gate is to be found, as far as the settings say.
func (u *userCommand) base() string {
	if len(u.cfg.Hosts) > 0 {
		return "https://" + u.cfg.Hosts[0]
	}
	for _, l := range u.cfg.Listen {
		if strings.HasPrefix(l, ":") {
			return "http://127.0.0.1" + l
		}
		if !strings.HasPrefix(l, "unix:") && l != "systemd" {
			return "http://" + l
		}
	}
	return "http://127.0.0.1:8189"
}

func (u *userCommand) list(ctx context.Context) error {
	var all []account.Person
	page := account.Page{Limit: people.MaxPage}
	for {
		part, err := u.people.List(ctx, page)
		if err != nil {
			return err
		}
		if all = append(all, part...); len(part) < page.Limit {
			break
		}
		page.After = part[len(part)-1].Name
	}
	if u.json {
		list := []map[string]any{}
		for _, p := range all {
			list = append(list, map[string]any{"id": p.ID, "name": p.Name, "role": p.Role.String(), "created": stamp(p.CreatedAt), "seen": stamp(p.SeenAt),
				"disabled": p.Disabled(), "invited": p.Password == ""})
		}
		return writeJSON(u.env, list)
	}
	w := tabwriter.NewWriter(u.env.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "ID\tNAME\tROLE\tCREATED\tLAST SEEN\tSTATE")
	for _, p := range all {
		state := "live"
		switch {
		case p.Disabled():
			state = "disabled"
		case p.Password == "":
			state = "invited"
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", p.ID, p.Name, p.Role, day(p.CreatedAt, "-"), day(p.SeenAt, "never"), state)
	}
	return w.Flush()
}

func (u *userCommand) passwd(ctx context.Context, name string) error {
	p, err := u.find(ctx, name)
	if err != nil {
		return err
	}
	password, err := readNewPassword(u.env)
	if err != nil {
		return err
	}
	if err := u.people.SetPassword(ctx, people.Command(), p.ID, password); err != nil {
		return err
	}
	u.say("The password of %s is changed: their sessions, tokens and links end within a second.", p.Name)
	return nil
}

// readNewPassword asks on a terminal, twice and without showing it, and reads
// one line where there is none.
func readNewPassword(env Env) (string, error) {
	f, ok := env.Stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		line, err := bufio.NewReader(io.LimitReader(env.Stdin, account.MaxPassword+3)).ReadString('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return "", fmt.Errorf("read the password from standard input: %w", err)
		}
		return strings.TrimRight(line, "\r\n"), nil
	}
	ask := func(prompt string) (string, error) {
		fmt.Fprint(env.Stderr, prompt)
		defer fmt.Fprintln(env.Stderr)
		b, err := term.ReadPassword(int(f.Fd()))
		return string(b), err
	}
	first, err := ask("New password: ")
	if err != nil {
		return "", fmt.Errorf("read the password: %w", err)
	}
	second, err := ask("Again: ")
	if err == nil && first != second {
		err = errors.New("the two are not the same: try again")
	}
	return first, err
}

// do makes one change and says so.
func (u *userCommand) do(ctx context.Context, name, what string, change func(context.Context, account.Principal, string) error) error {
	p, err := u.find(ctx, name)
	if err != nil {
		return err
	}
	if err := change(ctx, people.Command(), p.ID); err != nil {
		return err
	}
	u.say("%s is %s. A running gate follows within a second.", p.Name, what)
	return nil
}

func (u *userCommand) disable(ctx context.Context, name string) error {
	return u.do(ctx, name, "disabled", u.people.Disable)
}

func (u *userCommand) enable(ctx context.Context, name string) error {
	return u.do(ctx, name, "enabled", u.people.Enable)
}

func (u *userCommand) remove(ctx context.Context, name string) error {
	return u.do(ctx, name, "removed", u.people.Remove)
}

func (u *userCommand) setRole(ctx context.Context, name string) error {
	role, err := account.ParseRole(u.role)
	if err != nil {
		return usagef("--role: %w", err)
	}
	return u.do(ctx, name, "now "+role.String(), func(ctx context.Context, by account.Principal, id string) error {
		return u.people.SetRole(ctx, by, id, role)
	})
}
