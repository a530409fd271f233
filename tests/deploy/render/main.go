// Command render prints what a Helm chart becomes with given values, without Helm:
//
//	render [-f VALUES.yaml]... [-set PATH=YAML]... [-release NAME] [-notes] CHART
//
// With -notes it prints what Helm says after an installation instead.
//
// It knows what our chart uses: text/template with Sprig, include, fail, toYaml, .Values,
// .Release, .Chart. It is stricter than Helm in one point: a value that nobody set is an
// error. It has no hooks, no subcharts, no lookup, no .Capabilities and no .Files.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/Masterminds/sprig"
	"sigs.k8s.io/yaml"
)

type words []string

func (w *words) String() string         { return strings.Join(*w, " ") }
func (w *words) Set(value string) error { *w = append(*w, value); return nil }

type table = map[string]interface{}

func main() {
	var files, sets words
	flag.Var(&files, "f", "file with values; repeatable, the last wins")
	flag.Var(&sets, "set", "one value, as node.replicas=3; repeatable")
	release := flag.String("release", "memory", "name of the release")
	notes := flag.Bool("notes", false, "print NOTES.txt instead of the manifests")
	flag.Parse()
	if err := run(flag.Arg(0), files, sets, *release, *notes); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(chart string, files, sets []string, release string, notes bool) error {
	values := table{}
	for _, path := range append([]string{filepath.Join(chart, "values.yaml")}, files...) {
		more := table{}
		if err := load(path, &more); err != nil {
			return err
		}
		merge(values, more)
	}
	for _, one := range sets {
		if err := set(values, one); err != nil {
			return err
		}
	}
	about := table{}
	if err := load(filepath.Join(chart, "Chart.yaml"), &about); err != nil {
		return err
	}
	return render(chart, table{
		"Values":  values,
		"Chart":   table{"Name": about["name"], "Version": about["version"], "AppVersion": about["appVersion"]},
		"Release": table{"Name": release, "Namespace": "agents", "Service": "Helm"},
	}, notes)
}

func render(chart string, data table, notes bool) error {
	paths, err := filepath.Glob(filepath.Join(chart, "templates", "*"))
	if err != nil {
		return err
	}
	root := template.New("chart").Option("missingkey=error")
	root.Funcs(sprig.TxtFuncMap()).Funcs(functions(root))
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if _, err := root.New(filepath.Base(path)).Parse(string(text)); err != nil {
			return err
		}
	}
	for _, path := range paths {
		name := filepath.Base(path)
		if strings.HasPrefix(name, "_") || notes != (name == "NOTES.txt") {
			continue
		}
		var out bytes.Buffer
		if err := root.ExecuteTemplate(&out, name, data); err != nil {
			return err
		}
		if text := strings.TrimSpace(out.String()); notes {
			fmt.Println(text)
		} else if text != "" {
			fmt.Printf("--- # Source: %s\n%s\n", name, text)
		}
	}
	return nil
}

func functions(root *template.Template) template.FuncMap {
	include := func(name string, data interface{}) (string, error) {
		var out bytes.Buffer
		err := root.ExecuteTemplate(&out, name, data)
		return out.String(), err
	}
	return template.FuncMap{
		"include": include,
		"fail":    func(message string) (string, error) { return "", errors.New(message) },
		"toYaml": func(value interface{}) (string, error) {
			text, err := yaml.Marshal(value)
			return strings.TrimSuffix(string(text), "\n"), err
		},
	}
}

func load(path string, into *table) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := yaml.Unmarshal(text, into); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// merge puts what is in more into base as Helm does: tables are merged, a null takes away.
func merge(base, more table) {
	for name, value := range more {
		inner, isTable := value.(table)
		old, wasTable := base[name].(table)
		switch {
		case value == nil:
			delete(base, name)
		case isTable && wasTable:
			merge(old, inner)
		default:
			base[name] = value
		}
	}
}

func set(values table, one string) error {
	at := strings.Index(one, "=")
	if at < 0 {
		return fmt.Errorf("-set %s: give PATH=VALUE", one)
	}
	var value interface{}
	if err := yaml.Unmarshal([]byte(one[at+1:]), &value); err != nil {
		return err
	}
	steps := strings.Split(one[:at], ".")
	more := table{steps[len(steps)-1]: value}
	for i := len(steps) - 2; i >= 0; i-- {
		more = table{steps[i]: more}
	}
	merge(values, more)
	return nil
}
