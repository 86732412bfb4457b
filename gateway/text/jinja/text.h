// Building strings whose bytes remember whether they came from marked input.
#pragma once

#include <string>
#include <string_view>

#include "gateway/text/jinja/value.h"

namespace shardline::jinja {

class TextBuilder {
 public:
  void Append(std::string_view text);                    // not from input
  void AppendInput(std::string_view text, bool marked);  // wholly from input when `marked`
  void Append(const StringObject& string);
  void Append(const StringObject& string, size_t begin, size_t end);  // bytes [begin, end)
  void AppendRepeated(std::string_view text, size_t count);
  void Append(const Value& string) { Append(string.string()); }

  size_t size() const { return text_.size(); }
  bool marked() const { return !marks_.empty(); }
  const std::string& text() const { return text_; }
  const Marks& marks() const { return marks_; }
  Value Build(bool markup = false);
  std::string TakeText() { return std::move(text_); }
  Marks TakeMarks() { return std::move(marks_); }

 private:
  void Mark(size_t begin, size_t end);
  std::string text_;
  Marks marks_;
};

// Bytes [begin, end) of a string, with their marks; keeps Markup.
Value Substring(const StringObject& string, size_t begin, size_t end);

// A string of `text` that is wholly marked when `marked`.
Value WhollyMarked(std::string text, bool marked, bool markup = false);

// `text` with &, <, >, ' and " replaced, as Markup. Markup itself stays as it is.
Value EscapeHtml(const Value& string);

}  // namespace shardline::jinja
