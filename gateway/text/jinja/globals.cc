// The table of global functions, and what they make.
#include <algorithm>

#include "gateway/text/jinja/clock.h"
#include "gateway/text/jinja/interpreter.h"
#include "gateway/text/jinja/python.h"
#include "gateway/text/jinja/tables.h"

namespace shardline::jinja {

namespace {

constexpr int64_t kMaxRange = 100000;  // of Jinja's sandbox

Value MakeRange(CallFrame& call) {
  const auto& arguments = call.rest.positional;
  if (!call.rest.keyword.empty()) TypeError("range() takes no keyword arguments");
  if (arguments.empty()) TypeError("range expected at least 1 argument, got 0");
  if (arguments.size() > 3) {
    TypeError("range expected at most 3 arguments, got ", arguments.size());
  }
  const auto bound = [&](size_t i) {
    if (arguments[i].is_undefined()) {
      TypeError("'Undefined' object cannot be interpreted as an integer");
    }
    return std::clamp<int64_t>(ToIndex64(arguments[i]), -(int64_t{1} << 61), int64_t{1} << 61);
  };
  auto range = Make<RangeObject>();
  if (arguments.size() == 1) {
    range->stop = bound(0);
  } else {
    range->start = bound(0);
    range->stop = bound(1);
  }
  if (arguments.size() == 3) range->step = bound(2);
  if (range->step == 0) ValueError("range() arg 3 must not be zero");
  if (range->size() > kMaxRange) {
    Throw(ErrorKind::kArithmetic,
          "Range too big. The sandbox blocks ranges larger than MAX_RANGE (", kMaxRange, ").");
  }
  return Value(Kind::kRange, range);
}

// Python's dict(mapping_or_pairs, **members).
Ref<DictObject> BuildDict(const CallFrame& call) {
  auto dict = Make<DictObject>();
  const auto& arguments = call.rest.positional;
  if (arguments.size() > 1) {
    TypeError("dict expected at most 1 argument, got ", arguments.size());
  }
  if (arguments.size() == 1) {
    if (arguments[0].is_undefined()) FailUndefined(arguments[0]);
    if (arguments[0].is(Kind::kDict)) {
      for (const auto& [key, value] : arguments[0].dict().items) dict->Set(key, value);
    } else {
      size_t index = 0;
      for (const Value& pair : Collect(arguments[0])) {
        if (!pair.is_string() && !pair.is(Kind::kList) && !pair.is(Kind::kTuple)) {
          TypeError("cannot convert dictionary update sequence element #", index, " to a sequence");
        }
        const std::vector<Value> items = Collect(pair);
        if (items.size() != 2) {
          ValueError("dictionary update sequence element #", index, " has length ", items.size(),
                     "; 2 is required");
        }
        dict->Set(items[0], items[1]);
        ++index;
      }
    }
  }
  for (const auto& [name, value] : call.rest.keyword) dict->Set(Value(name), value);
  return dict;
}

Value MakeDictValue(CallFrame& call) { return MakeDict(BuildDict(call)); }

Value MakeNamespace(CallFrame& call) { return call.interpreter.NewNamespace(BuildDict(call)); }

Value MakeCycler(CallFrame& call) {
  if (!call.rest.keyword.empty()) TypeError("cycler() takes no keyword arguments");
  if (call.rest.positional.empty()) RuntimeError("at least one item has to be provided");
  auto cycler = Make<CyclerObject>();
  uint32_t deepest = 0;
  for (const Value& item : call.rest.positional) deepest = std::max(deepest, item.nesting());
  SetNesting(cycler.get(), deepest);
  cycler->items = call.rest.positional;
  return Value(Kind::kCycler, cycler);
}

Value MakeJoiner(CallFrame& call) {
  auto joiner = Make<JoinerObject>();
  joiner->separator = call.has(0) ? call[0] : Value(", ");
  SetNesting(joiner.get(), joiner->separator.nesting());
  return Value(Kind::kJoiner, joiner);
}

Value RaiseException(CallFrame& call) { Throw(ErrorKind::kRaised, ToStr(call[0]).text()); }

Value StrftimeNow(CallFrame& call) {
  if (!call[0].is_string()) TypeError("strftime() argument 1 must be str, not ", TypeName(call[0]));
  return Value(FormatTime(call[0].text(), call.interpreter.options().now));
}

Value RefuseLipsum(CallFrame&) {
  RuntimeError("lipsum() makes random text, which chat templates may not use");
}

const std::vector<Native>& Globals() {
  static const std::vector<Native> table = {
      {"range", "*args", MakeRange},
      {"dict", "*args", MakeDictValue},
      {"namespace", "*args", MakeNamespace},
      {"cycler", "*items", MakeCycler},
      {"joiner", "sep=", MakeJoiner},
      {"lipsum", "*args", RefuseLipsum},
      {"raise_exception", "message", RaiseException},
      {"strftime_now", "format", StrftimeNow},
  };
  return table;
}

}  // namespace

const Native* FindGlobal(std::string_view name) { return FindIn(Globals(), name); }

}  // namespace shardline::jinja
