#include "gateway/text/jinja/loop.h"

#include "gateway/text/jinja/python.h"
#include "gateway/text/jinja/tables.h"

namespace shardline::jinja {

bool LoopObject::Advance(Value* item) {
  if (peeked) {
    if (!after.has_value()) return false;
    *item = *after;
    peeked = false;
    after.reset();
  } else if (!source->Next(item)) {
    return false;
  }
  ++index0;
  before = std::move(current);
  current = *item;
  return true;
}

const Value* LoopObject::Peek() {
  if (!peeked) {
    peeked = true;
    Value item;
    if (source->Next(&item)) after = std::move(item);
  }
  return after.has_value() ? &*after : nullptr;
}

bool LoopObject::Next(Value* value) {
  Value item;
  if (!Advance(&item)) return false;
  *value = MakeTuple({item, Value(Kind::kLoop, Ref<LoopObject>(this))});
  return true;
}

size_t LoopObject::Length() {
  if (length.has_value()) return *length;
  const bool sized = !iterable.is(Kind::kIterator) && !iterable.is(Kind::kLoop);
  if (sized) {
    length = jinja::Length(iterable);
    return *length;
  }
  std::vector<Value> rest = Collect(Value(Kind::kIterator, source));
  length = rest.size() + static_cast<size_t>(index0 + 1) + (peeked && after.has_value() ? 1 : 0);
  source = Iterate(MakeList(std::move(rest)));
  return *length;
}

std::optional<Value> LoopAttribute(const Value& value, std::string_view name) {
  auto& loop = value.as<LoopObject>();
  if (name == "index") return Value(loop.index0 + 1);
  if (name == "index0") return Value(loop.index0);
  if (name == "first") return Value(loop.index0 == 0);
  if (name == "last") return Value(loop.Peek() == nullptr);
  if (name == "length") return Value(loop.Length());
  if (name == "revindex") return Value(static_cast<int64_t>(loop.Length()) - loop.index0);
  if (name == "revindex0") return Value(static_cast<int64_t>(loop.Length()) - loop.index0 - 1);
  if (name == "depth") return Value(loop.depth0 + 1);
  if (name == "depth0") return Value(loop.depth0);
  if (name == "previtem") {
    if (loop.index0 == 0) return MakeUndefined("there is no previous item");
    return loop.before.value_or(Value());
  }
  if (name == "nextitem") {
    const Value* next = loop.Peek();
    return next != nullptr ? *next : MakeUndefined("there is no next item");
  }
  return std::nullopt;
}

}  // namespace shardline::jinja
