package standin

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
)

// constant checks a value written into the prompt and converts it to the type of its input, as
// ComfyUI does: the history shows the converted one.
func (v *validator) constant(d *verdict, n *node, in inputDef, val any) {
	if o, ok := val.(*object); ok {
		if inner, there := o.get("__value__"); there {
			val = inner
			n.inputs.set(in.name, val)
		}
	}
	converted, err := convert(in.kind, val)
	if err != nil {
		d.fail(inputError("invalid_input_type", "Failed to convert an input value to a "+in.kind+" value",
			fmt.Sprintf("%s, %s, %s", in.name, str(val), err),
			obj("input_name", in.name, "input_config", in.config(), "received_value", val, "exception_message", err.Error())))
		return
	}
	n.inputs.set(in.name, converted)
	if in.name == validatesItself[n.class] {
		return
	}
	v.bounds(d, in, converted)
	if in.kind == "COMBO" && !contains(in.choices, converted) {
		quoted := repr(converted)
		if !v.s.profile.modern {
			quoted = "'" + str(converted) + "'" // 0.3.64 quoted numbers too
		}
		d.fail(inputError("value_not_in_list", "Value not in list", fmt.Sprintf("%s: %s not in %s", in.name, quoted, repr(in.choices)),
			obj("input_name", in.name, "input_config", in.config(), "received_value", converted)))
	}
}

func (v *validator) bounds(d *verdict, in inputDef, val any) {
	x, ok := val.(number)
	if !ok {
		return
	}
	extra := obj("input_name", in.name, "input_config", in.config(), "received_value", val)
	if lo, ok := in.options.vals["min"].(number); ok && x.float() < lo.float() {
		d.fail(inputError("value_smaller_than_min", fmt.Sprintf("Value %s smaller than min of %s", x, lo), in.name, extra))
	} else if hi, ok := in.options.vals["max"].(number); ok && x.float() > hi.float() {
		d.fail(inputError("value_bigger_than_max", fmt.Sprintf("Value %s bigger than max of %s", x, hi), in.name, extra))
	}
}

func contains(l list, v any) bool {
	for _, x := range l {
		if x == v {
			return true
		}
	}
	return false
}

// convert is Python's int(), float(), str() or bool() of a JSON value.
func convert(kind string, val any) (any, error) {
	switch kind {
	case "INT":
		return toInt(val)
	case "FLOAT":
		switch x := val.(type) {
		case number:
			return pythonFloat(x.float()), nil
		case bool:
			if x {
				return number("1.0"), nil
			}
			return number("0.0"), nil
		case string:
			f, err := strconv.ParseFloat(strings.TrimSpace(x), 64)
			if err != nil {
				return nil, fmt.Errorf("could not convert string to float: %s", repr(x))
			}
			return pythonFloat(f), nil
		}
		return nil, fmt.Errorf("float() argument must be a string or a real number, not '%s'", typeName(val))
	case "STRING":
		return str(val), nil
	case "BOOLEAN":
		return truthy(val), nil
	}
	return val, nil
}

func toInt(val any) (any, error) {
	switch x := val.(type) {
	case number:
		if !x.isFloat() {
			return x, nil
		}
		f := x.float()
		if math.IsInf(f, 0) {
			return nil, fmt.Errorf("cannot convert float infinity to integer")
		}
		i, _ := big.NewFloat(f).Int(nil)
		return number(i.String()), nil
	case bool:
		if x {
			return number("1"), nil
		}
		return number("0"), nil
	case string:
		i, ok := new(big.Int), false
		if len(x) <= 4300 { // Python's own limit
			i, ok = i.SetString(strings.TrimPrefix(strings.TrimSpace(x), "+"), 10)
		}
		if !ok {
			return nil, fmt.Errorf("invalid literal for int() with base 10: %s", repr(x))
		}
		return number(i.String()), nil
	}
	return nil, fmt.Errorf("int() argument must be a string, a bytes-like object or a real number, not '%s'", typeName(val))
}

// typeName is what Python calls the type of a JSON value.
func typeName(v any) string {
	switch v := v.(type) {
	case nil:
		return "NoneType"
	case bool:
		return "bool"
	case string:
		return "str"
	case number:
		if v.isFloat() {
			return "float"
		}
		return "int"
	case []any:
		return "list"
	}
	return "dict"
}

// validatesItself names the input that a class checks by its own rule instead of its choices:
// for the loaders any file that exists will do, in a subfolder too.
var validatesItself = map[string]string{"LoadImage": "image", "LoadImageMask": "image"}

// custom is a class's own validation.
func (v *validator) custom(d *verdict, n *node) *pyError {
	name := validatesItself[n.class]
	if name == "" {
		return nil
	}
	val, there := n.inputs.get(name)
	if !there {
		return &pyError{"TypeError", n.class + ".VALIDATE_INPUTS() missing 1 required positional argument: '" + name + "'"}
	}
	if _, linked := val.([]any); linked {
		return nil
	}
	file, isString := val.(string)
	if !isString {
		return &pyError{"AttributeError", "'" + typeName(val) + "' object has no attribute 'endswith'"}
	}
	if !v.s.exists(annotated(file, "input")) {
		d.fail(inputError("custom_validation_failed", "Custom validation failed for node", name+" - Invalid image file: "+file, obj("input_name", name)))
	}
	return nil
}
