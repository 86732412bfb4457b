#include "gateway/text/jinja/value.h"

#include <algorithm>

#include "gateway/text/jinja/python.h"
#include "gateway/text/jinja/unicode.h"

namespace shardline::jinja {

namespace {

constexpr size_t kManyItems = 8;  // from here on a dict keeps a hash index

struct SequenceIterator : IteratorObject {
  explicit SequenceIterator(Ref<SequenceObject> sequence) : items(std::move(sequence)) {}
  bool Next(Value* value) override {
    if (position >= items->items.size()) return false;
    *value = items->items[position++];
    return true;
  }
  Ref<SequenceObject> items;
  size_t position = 0;
};

struct StringIterator : IteratorObject {
  explicit StringIterator(const Value& value) : source(value) {}
  bool Next(Value* value) override {
    const StringObject& string = source.string();
    if (position >= string.text.size()) return false;
    const size_t width = CodePointWidth(string.text, position);
    const Value character = Substring(string, position, position + width);
    *value = string.markup ? ToStr(character) : character;  // plain, as Python iterates a Markup
    position += width;
    return true;
  }
  Value source;
  size_t position = 0;
};

struct DictIterator : IteratorObject {
  DictIterator(Ref<DictObject> source, ViewKind kind) : dict(std::move(source)), view(kind) {}
  bool Next(Value* value) override {
    if (position >= dict->items.size()) return false;
    const auto& [key, item] = dict->items[position++];
    if (view == ViewKind::kKeys) *value = key;
    if (view == ViewKind::kValues) *value = item;
    if (view == ViewKind::kItems) *value = MakeTuple({key, item});
    return true;
  }
  Ref<DictObject> dict;
  ViewKind view;
  size_t position = 0;
};

struct RangeIterator : IteratorObject {
  explicit RangeIterator(Ref<RangeObject> source) : range(std::move(source)) {}
  bool Next(Value* value) override {
    if (position >= range->size()) return false;
    *value = Value(range->start + position++ * range->step);
    return true;
  }
  Ref<RangeObject> range;
  int64_t position = 0;
};

struct EmptyIterator : IteratorObject {
  bool Next(Value*) override { return false; }
};

struct GeneratorObject : IteratorObject {
  std::function<bool(Value*)> next;
  bool done = false;
  bool Next(Value* value) override {
    if (done) return false;
    Step();
    if (next(value)) return true;
    done = true;
    return false;
  }
};

uint32_t DeepestOf(const std::vector<Value>& items) {
  uint32_t deepest = 0;
  for (const Value& item : items) deepest = std::max(deepest, item.nesting());
  return deepest;
}

Value MakeSequence(Kind kind, std::vector<Value> items) {
  auto sequence = Make<SequenceObject>();
  SetNesting(sequence.get(), DeepestOf(items));
  sequence->Charge(64 + items.size() * sizeof(Value));
  StepBytes(items.size() * sizeof(Value));
  sequence->items = std::move(items);
  return Value(kind, sequence);
}

}  // namespace

void Object::Charge(size_t bytes) {
  Budget& budget = CurrentBudget();
  if (bytes > budget.max_live_bytes || budget.live_bytes > budget.max_live_bytes - bytes) {
    LimitError("values take more than the limit of ", budget.max_live_bytes, " bytes");
  }
  budget.live_bytes += bytes;
  charged_ += bytes;
}

void SetNesting(Object* object, uint32_t below) {
  object->nesting = below + 1;
  if (object->nesting > CurrentBudget().max_nesting) LimitError("values are nested too deeply");
}

Value::Value(std::string text) { *this = MakeString(std::move(text)); }

const StringObject& Value::string() const { return as<StringObject>(); }
std::string_view Value::text() const { return as<StringObject>().text; }
const std::vector<Value>& Value::items() const { return as<SequenceObject>().items; }
const DictObject& Value::dict() const { return as<DictObject>(); }

Value MakeString(std::string text, Marks marks, bool markup) {
  CheckTextSize(text.size());
  auto string = Make<StringObject>();
  string->Charge(96 + text.size() + marks.size() * sizeof(Range));
  StepBytes(text.size());
  string->ascii = IsAscii(text);
  string->text = std::move(text);
  string->marks = std::move(marks);
  string->markup = markup;
  return Value(Kind::kString, string);
}

Value MakeList(std::vector<Value> items) { return MakeSequence(Kind::kList, std::move(items)); }
Value MakeTuple(std::vector<Value> items) { return MakeSequence(Kind::kTuple, std::move(items)); }

Value MakeDict(Ref<DictObject> dict) {
  uint32_t deepest = 0;
  for (const auto& [key, value] : dict->items) {
    deepest = std::max({deepest, key.nesting(), value.nesting()});
  }
  SetNesting(dict.get(), deepest);
  dict->Charge(64 + dict->items.size() * 2 * sizeof(Value));
  StepBytes(dict->items.size() * 2 * sizeof(Value));
  return Value(Kind::kDict, dict);
}

Value MakeUndefined(std::string message, ErrorKind error) {
  auto undefined = Make<UndefinedObject>();
  undefined->Charge(96 + message.size());
  undefined->message = std::move(message);
  undefined->error = error;
  return Value(Kind::kUndefined, undefined);
}

Value MakeMethod(const Native& native, const Value& self) {
  auto function = Make<FunctionObject>();
  function->Charge(sizeof(FunctionObject));
  SetNesting(function.get(), self.nesting());
  function->native = &native;
  function->self = self;
  function->bound = true;
  return Value(Kind::kFunction, function);
}

Value MakeIterator(Ref<IteratorObject> iterator) {
  return Value(Kind::kIterator, std::move(iterator));
}

Value MakeGenerator(std::function<bool(Value*)> next, const std::vector<Value>& holds,
                    const char* type_name) {
  auto generator = Make<GeneratorObject>();
  generator->Charge(sizeof(GeneratorObject) + 128);
  SetNesting(generator.get(), DeepestOf(holds));
  generator->type_name = type_name;
  generator->next = std::move(next);
  return Value(Kind::kIterator, generator);
}

int64_t DictObject::Position(const Value& key) const {
  const size_t hash = Hash(key);
  if (items.size() <= kManyItems) {
    for (size_t i = 0; i < items.size(); ++i) {
      if (Equal(items[i].first, key)) return static_cast<int64_t>(i);
    }
    return -1;
  }
  const auto [begin, end] = positions_.equal_range(hash);
  for (auto it = begin; it != end; ++it) {
    if (Equal(items[it->second].first, key)) return it->second;
  }
  return -1;
}

const Value* DictObject::Find(const Value& key) const {
  const int64_t position = Position(key);
  return position < 0 ? nullptr : &items[static_cast<size_t>(position)].second;
}

const Value* DictObject::Find(std::string_view key) const {
  if (items.size() <= kManyItems) {
    for (const auto& [name, value] : items) {
      if (name.is_string() && name.text() == key) return &value;
    }
    return nullptr;
  }
  const auto [begin, end] = positions_.equal_range(HashText(key));
  for (auto it = begin; it != end; ++it) {
    const auto& [name, value] = items[it->second];
    if (name.is_string() && name.text() == key) return &value;
  }
  return nullptr;
}

void DictObject::Set(const Value& key, Value value) {
  const int64_t position = Position(key);
  if (position >= 0) {
    items[static_cast<size_t>(position)].second = std::move(value);
    return;
  }
  items.emplace_back(key, std::move(value));
  if (items.size() == kManyItems + 1) {
    for (size_t i = 0; i < items.size(); ++i) {
      positions_.emplace(Hash(items[i].first), static_cast<uint32_t>(i));
    }
  } else if (items.size() > kManyItems + 1) {
    positions_.emplace(Hash(key), static_cast<uint32_t>(items.size() - 1));
  }
}

int64_t RangeObject::size() const {
  if (step > 0) return start < stop ? (stop - start - 1) / step + 1 : 0;
  return start > stop ? (start - stop - 1) / -step + 1 : 0;
}

Ref<IteratorObject> Iterate(const Value& value) {
  Ref<IteratorObject> result;
  switch (value.kind()) {
    case Kind::kIterator:
    case Kind::kLoop:
      return value.ref<IteratorObject>();
    case Kind::kList:
      result = Make<SequenceIterator>(value.ref<SequenceObject>());
      result->type_name = "list_iterator";
      break;
    case Kind::kTuple:
      result = Make<SequenceIterator>(value.ref<SequenceObject>());
      result->type_name = "tuple_iterator";
      break;
    case Kind::kString:
      result = Make<StringIterator>(value);
      result->type_name = "str_iterator";
      break;
    case Kind::kDict:
      result = Make<DictIterator>(value.ref<DictObject>(), ViewKind::kKeys);
      result->type_name = "dict_keyiterator";
      break;
    case Kind::kView:
      result = Make<DictIterator>(value.as<ViewObject>().dict, value.as<ViewObject>().view);
      result->type_name = "dict_itemiterator";
      break;
    case Kind::kRange:
      result = Make<RangeIterator>(value.ref<RangeObject>());
      result->type_name = "range_iterator";
      break;
    case Kind::kUndefined:
      return Make<EmptyIterator>();
    default:
      TypeError("'", TypeName(value), "' object is not iterable");
  }
  SetNesting(result.get(), value.nesting());
  return result;
}

std::vector<Value> Collect(const Value& value) {
  if (value.is(Kind::kList) || value.is(Kind::kTuple)) {
    StepBytes(value.items().size() * sizeof(Value));
    return value.items();
  }
  std::vector<Value> items;
  const Ref<IteratorObject> iterator = Iterate(value);
  Value item;
  while (iterator->Next(&item)) {
    Step();
    items.push_back(std::move(item));
    if (items.size() * sizeof(Value) > CurrentBudget().max_live_bytes) {
      LimitError("values take more than the limit of ", CurrentBudget().max_live_bytes, " bytes");
    }
  }
  return items;
}

}  // namespace shardline::jinja
