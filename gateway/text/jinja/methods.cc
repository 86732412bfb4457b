// The tables of methods of every kind of value but strings (string_methods.cc).
#include <algorithm>
#include <bit>
#include <cmath>

#include "gateway/text/jinja/loop.h"
#include "gateway/text/jinja/python.h"
#include "gateway/text/jinja/string_methods.h"
#include "gateway/text/jinja/tables.h"

namespace shardline::jinja {

namespace {

using Call = CallFrame;

Value View(const Value& dict, ViewKind kind) {
  auto view = Make<ViewObject>();
  view->dict = dict.ref<DictObject>();
  view->view = kind;
  SetNesting(view.get(), dict.nesting());
  return Value(Kind::kView, view);
}

Value Get(Call& call) {
  const Value* found = call.self.dict().Find(call[0]);
  if (found != nullptr) return *found;
  return call.has(1) ? call[1] : Value();
}

Value FromKeys(Call& call) {
  auto dict = Make<DictObject>();
  for (const Value& key : Collect(call[0])) dict->Set(key, call.has(1) ? call[1] : Value());
  return MakeDict(std::move(dict));
}

Value IndexOf(Call& call) {
  const std::vector<Value> items = Collect(call.self);
  const auto size = static_cast<int64_t>(items.size());
  const auto bound = [&](size_t i, int64_t missing) {
    int64_t at = call.has(i) ? ToIndex64(call[i]) : missing;
    if (at < 0) at += size;
    return std::clamp<int64_t>(at, 0, size);
  };
  const int64_t end = bound(2, size);
  for (int64_t i = bound(1, 0); i < end; ++i) {
    if (Equal(items[static_cast<size_t>(i)], call[0])) return Value(i);
  }
  ValueError(ToRepr(call[0]), " is not in ", TypeName(call.self));
}

Value CountOf(Call& call) {
  int64_t count = 0;
  for (const Value& item : Collect(call.self)) count += Equal(item, call[0]) ? 1 : 0;
  return Value(count);
}

Value IsDisjoint(Call& call) {
  for (const Value& item : Collect(call[0])) {
    if (Contains(call.self, item)) return Value(false);
  }
  return Value(true);
}

Value BitLength(Call& call) {
  const Int value = call.self.integer();
  auto rest = Magnitude(value);
  int bits = 0;
  for (; rest > 0; rest >>= 1) ++bits;
  return Value(bits);
}

Value BitCount(Call& call) {
  const Int value = call.self.integer();
  const auto rest = Magnitude(value);
  return Value(std::popcount(static_cast<uint64_t>(rest)) +
               std::popcount(static_cast<uint64_t>(rest >> 64)));
}

Value LoopCycle(Call& call) {
  const auto& items = call.rest.positional;
  if (items.empty()) TypeError("no items for cycling given");
  return items[static_cast<size_t>(call.self.as<LoopObject>().index0) % items.size()];
}

Value LoopChanged(Call& call) {
  auto& loop = call.self.as<LoopObject>();
  const Value values = MakeTuple(call.rest.positional);
  if (loop.last_changed.has_value() && Equal(*loop.last_changed, values)) return Value(false);
  loop.last_changed = values;
  return Value(true);
}

Value CyclerNext(Call& call) {
  auto& cycler = call.self.as<CyclerObject>();
  Value item = cycler.items[cycler.position];
  cycler.position = (cycler.position + 1) % cycler.items.size();
  return item;
}

Value CyclerReset(Call& call) {
  call.self.as<CyclerObject>().position = 0;
  return Value();
}

Value IsInteger(Call& call) {
  if (call.self.is_integral()) return Value(true);
  return Value(std::isfinite(call.self.floating()) &&
               std::floor(call.self.floating()) == call.self.floating());
}

#define DO(expression) [](Call& c) { return Value(expression); }

const std::vector<Native>& DictMethods() {
  static const std::vector<Native> table = {
      {"copy", "/", DO(c.self)},
      {"fromkeys", "/ iterable value=", FromKeys},
      {"get", "/ key default=", Get},
      {"items", "/", DO(View(c.self, ViewKind::kItems))},
      {"keys", "/", DO(View(c.self, ViewKind::kKeys))},
      {"values", "/", DO(View(c.self, ViewKind::kValues))},
  };
  return table;
}

const std::vector<Native>& ListMethods() {
  static const std::vector<Native> table = {
      {"copy", "/", DO(c.self)},
      {"count", "/ value", CountOf},
      {"index", "/ value start= stop=", IndexOf},
  };
  return table;
}

const std::vector<Native>& TupleMethods() {  // and those of range
  static const std::vector<Native> table = {
      {"count", "/ value", CountOf},
      {"index", "/ value start= stop=", IndexOf},
  };
  return table;
}

const std::vector<Native>& ViewMethods() {
  static const std::vector<Native> table = {
      {"isdisjoint", "/ other", IsDisjoint},
  };
  return table;
}

const std::vector<Native>& IntMethods() {
  static const std::vector<Native> table = {
      {"as_integer_ratio", "/", DO(MakeTuple({Positive(c.self), Value(1)}))},
      {"bit_count", "/", BitCount},
      {"bit_length", "/", BitLength},
      {"conjugate", "/", DO(Positive(c.self))},
  };
  return table;
}

const std::vector<Native>& FloatMethods() {
  static const std::vector<Native> table = {
      {"conjugate", "/", DO(c.self)},
      {"is_integer", "/", IsInteger},
  };
  return table;
}

const std::vector<Native>& LoopMethods() {
  static const std::vector<Native> table = {
      {"cycle", "*args", LoopCycle},
      {"changed", "*value", LoopChanged},
  };
  return table;
}

const std::vector<Native>& CyclerMethods() {
  static const std::vector<Native> table = {
      {"next", "/", CyclerNext},
      {"reset", "/", CyclerReset},
  };
  return table;
}

#undef DO

}  // namespace

const Native* FindMethod(Kind kind, std::string_view name) {
  switch (kind) {
    case Kind::kString:
      return FindIn(StringMethods(), name);
    case Kind::kDict:
      return FindIn(DictMethods(), name);
    case Kind::kList:
      return FindIn(ListMethods(), name);
    case Kind::kTuple:
    case Kind::kRange:
      return FindIn(TupleMethods(), name);
    case Kind::kView:
      return FindIn(ViewMethods(), name);
    case Kind::kBool:
    case Kind::kInt:
      return FindIn(IntMethods(), name);
    case Kind::kFloat:
      return FindIn(FloatMethods(), name);
    case Kind::kLoop:
      return FindIn(LoopMethods(), name);
    case Kind::kCycler:
      return FindIn(CyclerMethods(), name);
    default:
      return nullptr;
  }
}

bool IsMutatingMethod(Kind kind, std::string_view name) {
  static constexpr std::string_view kList[] = {"append", "clear", "pop",    "reverse",
                                               "insert", "sort",  "extend", "remove"};
  static constexpr std::string_view kDict[] = {"clear", "pop", "popitem", "setdefault", "update"};
  if (kind == Kind::kList)
    return std::find(std::begin(kList), std::end(kList), name) != std::end(kList);
  if (kind == Kind::kDict)
    return std::find(std::begin(kDict), std::end(kDict), name) != std::end(kDict);
  return false;
}

}  // namespace shardline::jinja
