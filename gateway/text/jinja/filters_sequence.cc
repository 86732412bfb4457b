// Filters on lists, dicts and other iterables. Those that are generators in Jinja are generators
// here: they evaluate an item when it is asked for, and only once.
#include <algorithm>
#include <random>
#include <unordered_map>

#include "gateway/text/jinja/attribute_path.h"
#include "gateway/text/jinja/filters.h"
#include "gateway/text/jinja/interpreter.h"
#include "gateway/text/jinja/python.h"
#include "gateway/text/jinja/tables.h"

namespace shardline::jinja::filters {

namespace {

bool Flag(const CallFrame& call, size_t index) { return call.has(index) && Truth(call[index]); }

Value Argument(const CallFrame& call, size_t index) {
  return call.has(index) ? call[index] : Value();
}

[[noreturn]] void NoAttribute(const Value& value, const char* name) {
  if (value.is_undefined()) FailUndefined(value);
  RuntimeError("'", TypeName(value), "' object has no attribute '", name, "'");
}

// The `reverse` argument of a sort, which Python wants to be an int.
bool IsReversed(const CallFrame& call, size_t index) {
  return call.has(index) && ToIndex(call[index]) != 0;
}

bool Less(const Value& a, const Value& b) { return Compare(a, Order::kLess, b); }

// Python's sorted(items, key, reverse): stable both ways.
std::vector<Value> Sorted(std::vector<Value> items, const std::vector<Value>& keys, bool reverse) {
  std::vector<size_t> order(items.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  if (reverse) std::reverse(order.begin(), order.end());
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return Less(keys[a], keys[b]); });
  if (reverse) std::reverse(order.begin(), order.end());
  std::vector<Value> sorted;
  sorted.reserve(items.size());
  for (const size_t i : order) sorted.push_back(std::move(items[i]));
  return sorted;
}

}  // namespace

Value First(CallFrame& call) {
  Value item;
  if (Iterate(call[0])->Next(&item)) return item;
  return MakeUndefined("No first item, sequence was empty.");
}

namespace {

// Python's reversed(value) for what it takes; TypeError for the rest.
std::vector<Value> Reversed(const Value& value) {
  switch (value.kind()) {
    case Kind::kString:
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kDict:
    case Kind::kView:
    case Kind::kRange:
    case Kind::kUndefined:
      break;
    default:
      TypeError("'", TypeName(value), "' object is not reversible");
  }
  std::vector<Value> items = Collect(value);
  std::reverse(items.begin(), items.end());
  return items;
}

}  // namespace

Value Last(CallFrame& call) {
  const Value& value = call[0];
  if (value.is(Kind::kList) || value.is(Kind::kTuple)) {
    if (!value.items().empty()) return value.items().back();
  } else {
    const std::vector<Value> items = Reversed(value);
    if (!items.empty()) return items[0];
  }
  return MakeUndefined("No last item, sequence was empty.");
}

Value Reverse(CallFrame& call) {
  const Value& value = call[0];
  if (value.is_string()) return Slice(value, Value(), Value(), Value(-1));
  if (value.is(Kind::kIterator) || value.is(Kind::kLoop)) {
    std::vector<Value> items = Collect(value);
    std::reverse(items.begin(), items.end());
    return MakeList(std::move(items));
  }
  try {
    const Ref<IteratorObject> iterator = Iterate(MakeList(Reversed(value)));
    iterator->type_name = "list_reverseiterator";
    return MakeIterator(iterator);
  } catch (const Error& error) {
    if (error.kind != ErrorKind::kType) throw;
    RuntimeError("argument must be iterable");
  }
}

Value Random(CallFrame& call) {
  const Value& value = call[0];
  switch (value.kind()) {
    case Kind::kString:
    case Kind::kList:
    case Kind::kTuple:
    case Kind::kRange:
    case Kind::kUndefined:
      break;
    default:
      TypeError("'", TypeName(value), "' object is not subscriptable");
  }
  const std::vector<Value> items = Collect(value);
  if (items.empty()) return MakeUndefined("No random item, sequence was empty.");
  static thread_local std::mt19937_64 generator{std::random_device{}()};
  return items[std::uniform_int_distribution<size_t>(0, items.size() - 1)(generator)];
}

Value Items(CallFrame& call) {
  const Value value = call[0];
  Ref<IteratorObject> source;
  return MakeGenerator(
      [value, source](Value* item) mutable {
        if (!source) {
          if (value.is_undefined()) return false;
          if (!value.is(Kind::kDict)) TypeError("Can only get item pairs from a mapping.");
          auto view = Make<ViewObject>();
          view->dict = value.ref<DictObject>();
          view->view = ViewKind::kItems;
          SetNesting(view.get(), value.nesting());
          source = Iterate(Value(Kind::kView, view));
        }
        return source->Next(item);
      },
      {value});
}

Value Join(CallFrame& call) {
  const AttributePath path(Argument(call, 2));
  const Value separator = call.has(1) ? call[1] : Value("");
  std::vector<Value> items;
  bool markup = false;
  const bool autoescape = call.interpreter.autoescape();
  const Ref<IteratorObject> iterator = Iterate(call[0]);
  Value item;
  while (iterator->Next(&item)) {
    Step();
    items.push_back(ToStr(path.Get(call.interpreter, item), autoescape));
    markup = markup || items.back().string().markup;
  }
  Value glue = ToStr(separator, autoescape);
  if (autoescape && markup) glue = EscapeHtml(glue);
  const bool escape = glue.string().markup;
  TextBuilder builder;
  for (size_t i = 0; i < items.size(); ++i) {
    if (i > 0) builder.Append(glue);
    builder.Append(escape ? EscapeHtml(items[i]) : items[i]);
  }
  return builder.Build(escape);
}

Value Dictsort(CallFrame& call) {
  size_t position = 0;
  if (call.has(2)) {
    const bool by_value = Equal(call[2], Value("value"));
    if (!by_value && !Equal(call[2], Value("key"))) {
      RuntimeError("You can only sort by either \"key\" or \"value\"");
    }
    position = by_value ? 1 : 0;
  }
  if (!call[0].is(Kind::kDict)) NoAttribute(call[0], "items");
  std::vector<Value> items, keys;
  for (const auto& [key, value] : call[0].dict().items) {
    items.push_back(MakeTuple({key, value}));
    const Value& by = position == 0 ? key : value;
    keys.push_back(Flag(call, 1) ? by : IgnoreCase(by));
  }
  return MakeList(Sorted(std::move(items), keys, IsReversed(call, 3)));
}

Value Sort(CallFrame& call) {
  const std::vector<AttributePath> paths = AttributePaths(Argument(call, 3));
  std::vector<Value> items = Collect(call[0]);
  std::vector<Value> keys;
  for (const Value& item : items) {
    std::vector<Value> key;
    for (const AttributePath& path : paths) {
      const Value part = path.Get(call.interpreter, item);
      key.push_back(Flag(call, 2) ? part : IgnoreCase(part));
    }
    keys.push_back(MakeList(std::move(key)));
  }
  return MakeList(Sorted(std::move(items), keys, IsReversed(call, 1)));
}

Value MinOrMax(CallFrame& call, bool max) {
  const AttributePath path(Argument(call, 2));
  const Ref<IteratorObject> iterator = Iterate(call[0]);
  const auto key_of = [&](const Value& item) {
    const Value key = path.Get(call.interpreter, item);
    return Flag(call, 1) ? key : IgnoreCase(key);
  };
  Value best;
  if (!iterator->Next(&best)) return MakeUndefined("No aggregated item, sequence was empty.");
  Value best_key = key_of(best);
  Value item;
  while (iterator->Next(&item)) {
    Step();
    Value key = key_of(item);
    if (!Compare(key, max ? Order::kGreater : Order::kLess, best_key)) continue;
    best = item;
    best_key = std::move(key);
  }
  return best;
}

namespace {

// Values seen before, by equality.
class Seen {
 public:
  bool Add(const Value& value) {
    const auto [begin, end] = values_.equal_range(Hash(value));
    for (auto it = begin; it != end; ++it) {
      if (Equal(it->second, value)) return false;
    }
    values_.emplace(Hash(value), value);
    return true;
  }

 private:
  std::unordered_multimap<size_t, Value> values_;
};

}  // namespace

Value Unique(CallFrame& call) {
  const AttributePath path(Argument(call, 2));
  const bool case_sensitive = Flag(call, 1);
  const Value value = call[0];
  Interpreter& interpreter = call.interpreter;
  Ref<IteratorObject> source;
  Seen seen;
  return MakeGenerator(
      [value, path, case_sensitive, &interpreter, source, seen](Value* item) mutable {
        if (!source) source = Iterate(value);
        while (source->Next(item)) {
          Step();
          const Value key = path.Get(interpreter, *item);
          if (seen.Add(case_sensitive ? key : IgnoreCase(key))) return true;
        }
        return false;
      },
      {value});
}

Value Groupby(CallFrame& call) {
  const AttributePath path(call[1]);
  const Value fallback = Argument(call, 2);
  const bool case_sensitive = Flag(call, 3);
  std::vector<Value> items = Collect(call[0]);
  std::vector<Value> keys;
  for (const Value& item : items) {
    const Value key = path.Get(call.interpreter, item, &fallback);
    keys.push_back(case_sensitive ? key : IgnoreCase(key));
  }
  std::vector<Value> pairs;  // of key and item, in the order of the keys
  for (size_t i = 0; i < items.size(); ++i) pairs.push_back(MakeTuple({keys[i], items[i]}));
  pairs = Sorted(std::move(pairs), keys, false);
  std::vector<Value> groups;
  for (size_t i = 0; i < pairs.size();) {
    const Value key = pairs[i].items()[0];
    std::vector<Value> members;
    for (; i < pairs.size() && Equal(pairs[i].items()[0], key); ++i) {
      members.push_back(pairs[i].items()[1]);
    }
    const Value grouper = case_sensitive ? key : path.Get(call.interpreter, members[0], &fallback);
    const Value group = MakeTuple({grouper, MakeList(std::move(members))});
    group.as<SequenceObject>().group = true;
    groups.push_back(group);
  }
  return MakeList(std::move(groups));
}

Value Batch(CallFrame& call) {
  const Value value = call[0];
  const Value line_count = call[1];
  const Value fill = Argument(call, 2);
  Ref<IteratorObject> source;
  std::vector<Value> pending;
  bool ended = false;
  return MakeGenerator(
      [value, line_count, fill, source, pending, ended](Value* batch) mutable {
        if (ended) return false;
        if (!source) source = Iterate(value);
        Value item;
        while (source->Next(&item)) {
          Step();
          const bool full = Equal(Value(pending.size()), line_count);
          if (full) {
            *batch = MakeList(std::move(pending));
            pending.clear();
          }
          pending.push_back(item);
          if (full) return true;
        }
        ended = true;
        if (pending.empty()) return false;
        if (!fill.is_none() && Compare(Value(pending.size()), Order::kLess, line_count)) {
          const int64_t missing = ToIndex64(line_count) - static_cast<int64_t>(pending.size());
          if (missing > int64_t{1} << 22) LimitError("a batch has too many elements");
          pending.insert(pending.end(), static_cast<size_t>(missing), fill);
        }
        *batch = MakeList(std::move(pending));
        return true;
      },
      {value, fill});
}

Value SliceColumns(CallFrame& call) {
  const Value value = call[0];
  const Value slices = call[1];
  const Value fill = Argument(call, 2);
  std::vector<Value> items;
  int64_t number = -1, count = 0, offset = 0;
  return MakeGenerator(
      [value, slices, fill, items, number, count, offset](Value* column) mutable {
        if (number < 0) {
          items = Collect(value);
          if (!slices.is_number()) Modulo(Value(1), slices);
          if (Equal(slices, Value(0))) {
            Throw(ErrorKind::kArithmetic, "integer division or modulo by zero");
          }
          count = ToIndex64(slices);
          number = 0;
        }
        if (number >= count) return false;
        const auto size = static_cast<int64_t>(items.size());
        const int64_t each = size / count, longer = size % count;
        const int64_t start = offset + number * each;
        if (number < longer) ++offset;
        const int64_t end = offset + (number + 1) * each;
        std::vector<Value> part(items.begin() + start, items.begin() + end);
        if (!fill.is_none() && number >= longer) part.push_back(fill);
        ++number;
        *column = MakeList(std::move(part));
        return true;
      },
      {value, fill});
}

Value Attr(CallFrame& call) {
  // Like the dot, but items of a dict are no attributes.
  if (!call[1].is_string())
    TypeError("attribute name must be string, not '", TypeName(call[1]), "'");
  const std::string_view name = call[1].text();
  const bool has_items = call[0].is(Kind::kDict) || call[0].is_string();
  if (has_items && !name.starts_with("__") && FindMethod(call[0].kind(), name) == nullptr &&
      !IsMutatingMethod(call[0].kind(), name)) {
    return MakeUndefined(Cat("'", ObjectName(call[0]), "' has no attribute ", ReprText(name)));
  }
  return GetAttribute(call.interpreter, call[0], name);
}

}  // namespace shardline::jinja::filters
