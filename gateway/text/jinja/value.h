// The values of a template: Python's, as far as a chat template can see them. A Value is 32 bytes;
// everything that is not a number lives in a reference-counted Object. Values belong to one
// rendering on one thread (counts are not atomic) and are immutable, but for Namespace attributes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "gateway/text/jinja/budget.h"
#include "gateway/text/jinja/error.h"
#include "gateway/text/jinja/ranges.h"

namespace shardline::jinja {

using Int = __int128;  // Python's integers; what does not fit is an error, never a wrong number

enum class Kind : uint8_t {
  kNone,
  kBool,
  kInt,
  kFloat,
  kString,
  kList,
  kTuple,
  kDict,
  kUndefined,
  kNamespace,
  kRange,
  kIterator,  // a generator or another one-shot iterator
  kView,      // dict.keys(), dict.values(), dict.items()
  kFunction,  // a global function or a bound method
  kMacro,
  kLoop,
  kCycler,
  kJoiner,
  kBlock,  // a reference to a {% block %}
  kSelf,   // `self`, whose attributes are the blocks
};

class Object {
 public:
  Object() = default;
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  virtual ~Object() { CurrentBudget().live_bytes -= charged_; }

  // Counts `bytes` more as held by this object; fails when the rendering holds too much.
  void Charge(size_t bytes);

  uint32_t references = 0;
  uint32_t nesting = 0;  // how deep objects hold objects below this one; bounded, so recursion is

 private:
  size_t charged_ = 0;
};

template <typename T>
class Ref {
 public:
  Ref() = default;
  explicit Ref(T* object) : object_(object) { Retain(); }
  Ref(const Ref& other) : object_(other.object_) { Retain(); }
  Ref(Ref&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
  template <typename U>
  Ref(const Ref<U>& other) : object_(other.get()) {
    Retain();
  }
  template <typename U>
  Ref(Ref<U>&& other) noexcept : object_(other.Release()) {}
  Ref& operator=(Ref other) noexcept {
    std::swap(object_, other.object_);
    return *this;
  }
  ~Ref() {
    if (object_ != nullptr && --object_->references == 0) delete object_;
  }
  T* get() const { return object_; }
  T* Release() { return std::exchange(object_, nullptr); }  // without letting go of it
  T* operator->() const { return object_; }
  T& operator*() const { return *object_; }
  explicit operator bool() const { return object_ != nullptr; }

 private:
  void Retain() {
    if (object_ != nullptr) ++object_->references;
  }
  T* object_ = nullptr;
};

template <typename T, typename... Args>
Ref<T> Make(Args&&... args) {
  return Ref<T>(new T(std::forward<Args>(args)...));
}

struct StringObject;
struct SequenceObject;
struct DictObject;

class Value {
 public:
  Value() = default;  // None
  explicit Value(bool value) : kind_(Kind::kBool), low_(value ? 1 : 0) {}
  explicit Value(Int value)
      : kind_(Kind::kInt),
        low_(static_cast<uint64_t>(value)),
        high_(static_cast<int64_t>(value >> 64)) {}
  explicit Value(int64_t value) : Value(static_cast<Int>(value)) {}
  explicit Value(int value) : Value(static_cast<Int>(value)) {}
  explicit Value(size_t value) : Value(static_cast<Int>(value)) {}
  explicit Value(double value) : kind_(Kind::kFloat) {
    static_assert(sizeof(value) == sizeof(low_));
    __builtin_memcpy(&low_, &value, sizeof(value));
  }
  explicit Value(std::string text);
  explicit Value(std::string_view text) : Value(std::string(text)) {}
  explicit Value(const char* text) : Value(std::string(text)) {}
  template <typename T>
  Value(Kind kind, Ref<T> object) : kind_(kind), object_(std::move(object)) {}

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }
  bool is_none() const { return kind_ == Kind::kNone; }
  bool is_undefined() const { return kind_ == Kind::kUndefined; }
  bool is_string() const { return kind_ == Kind::kString; }
  bool is_number() const {
    return kind_ == Kind::kInt || kind_ == Kind::kFloat || kind_ == Kind::kBool;
  }
  bool is_integral() const { return kind_ == Kind::kInt || kind_ == Kind::kBool; }

  bool boolean() const { return low_ != 0; }
  Int integer() const {  // of a Bool too, as in Python
    return static_cast<Int>((static_cast<unsigned __int128>(static_cast<uint64_t>(high_)) << 64) |
                            low_);
  }
  double floating() const {
    double value;
    __builtin_memcpy(&value, &low_, sizeof(value));
    return value;
  }
  const StringObject& string() const;
  std::string_view text() const;            // of a String
  const std::vector<Value>& items() const;  // of a List or Tuple
  const DictObject& dict() const;
  Object* object() const { return object_.get(); }
  template <typename T>
  T& as() const {
    return static_cast<T&>(*object_);
  }
  template <typename T>
  Ref<T> ref() const {
    return Ref<T>(static_cast<T*>(object_.get()));
  }
  uint32_t nesting() const { return object_ ? object_->nesting : 0; }

 private:
  Kind kind_ = Kind::kNone;
  uint64_t low_ = 0;
  int64_t high_ = 0;
  Ref<Object> object_;
};

struct StringObject : Object {
  std::string text;  // UTF-8; lone surrogates of escapes are kept as three bytes
  Marks marks;
  bool markup = false;  // Python's Markup: text that counts as escaped
  bool ascii = false;
};

struct SequenceObject : Object {  // list and tuple
  std::vector<Value> items;
  bool group = false;  // a tuple of the groupby filter: also has .grouper and .list
};

struct DictObject : Object {
  std::vector<std::pair<Value, Value>> items;  // in order of insertion

  const Value* Find(const Value& key) const;  // TypeError when the key cannot be hashed
  const Value* Find(std::string_view key) const;
  void Set(const Value& key, Value value);  // only while the dict is being built

 private:
  int64_t Position(const Value& key) const;
  std::unordered_multimap<size_t, uint32_t> positions_;  // hash → position, once there are many
};

struct UndefinedObject : Object {
  std::string message;  // what an operation on it fails with
  ErrorKind error = ErrorKind::kUndefined;
  bool unset = false;  // stands for a variable that its scope has not set yet
};

struct NamespaceObject : Object {
  Ref<DictObject> attributes;
};

struct RangeObject : Object {
  int64_t start = 0, stop = 0, step = 1;
  int64_t size() const;
};

struct IteratorObject : Object {
  const char* type_name = "generator";
  virtual bool Next(Value* value) = 0;  // false at the end
};

enum class ViewKind { kKeys, kValues, kItems };
struct ViewObject : Object {
  Ref<DictObject> dict;
  ViewKind view = ViewKind::kKeys;
};

struct CyclerObject : Object {
  std::vector<Value> items;
  size_t position = 0;
};

struct JoinerObject : Object {
  Value separator;
  bool used = false;
};

// The arguments of one call, in the order written.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> keyword;
};

class Interpreter;
struct CallFrame;
using NativeFunction = Value (*)(CallFrame& call);

// One row of a table of filters, tests, methods or globals. `parameters` is a list such as
// "value width= *rest": names in order; '=' may be left out of a call (the function sees it as not
// given); a final "*rest" takes any further arguments as they are; a leading "/" makes the
// parameters positional only.
struct Native {
  Native(std::string_view name, std::string_view parameters, NativeFunction function);

  struct Parameter {
    std::string name;
    bool optional = false;
  };
  std::string name;
  NativeFunction function;
  std::vector<Parameter> parameters;
  bool takes_rest = false;
  bool positional_only = false;
};

struct FunctionObject : Object {
  const Native* native = nullptr;
  Value self;  // of a bound method
  bool bound = false;
};

// What a native function sees of a call.
struct CallFrame {
  Interpreter& interpreter;
  const Native& native;
  Value self;                       // of a method
  std::vector<const Value*> bound;  // one for each parameter; nullptr: not given
  Arguments rest;                   // what "*rest" takes

  const Value& operator[](size_t index) const { return *bound[index]; }
  bool has(size_t index) const { return bound[index] != nullptr; }
  // Given, and not None.
  bool given(size_t index) const { return has(index) && !bound[index]->is_none(); }
};

// Values made here are charged, and their nesting is checked.
Value MakeString(std::string text, Marks marks = {}, bool markup = false);
Value MakeList(std::vector<Value> items);
Value MakeTuple(std::vector<Value> items);
Value MakeDict(Ref<DictObject> dict);  // dict: filled by Set
Value MakeUndefined(std::string message, ErrorKind error = ErrorKind::kUndefined);
Value MakeMethod(const Native& native, const Value& self);
Value MakeIterator(Ref<IteratorObject> iterator);
// A generator; `holds` are the values that `next` keeps alive.
Value MakeGenerator(std::function<bool(Value*)> next, const std::vector<Value>& holds,
                    const char* type_name = "generator");

// Sets object->nesting from what it holds and fails when that is too deep.
void SetNesting(Object* object, uint32_t below);

// Python's iter(): TypeError for what cannot be iterated.
Ref<IteratorObject> Iterate(const Value& value);
std::vector<Value> Collect(const Value& value);  // list(value)

}  // namespace shardline::jinja
