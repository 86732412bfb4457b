// The table of filters: `value | name(arguments)`.
#include "gateway/text/jinja/filters.h"

#include "gateway/text/jinja/python.h"
#include "gateway/text/jinja/string_methods.h"
#include "gateway/text/jinja/tables.h"

namespace shardline::jinja {

namespace {

Value Default(CallFrame& call) {
  const bool boolean = call.has(2) && Truth(call[2]);
  if (call[0].is_undefined() || (boolean && !Truth(call[0]))) {
    return call.has(1) ? call[1] : Value("");
  }
  return call[0];
}

#define DO(expression) [](CallFrame& c) { return Value(expression); }

const std::vector<Native>& Filters() {
  using namespace filters;
  static const std::vector<Native> table = {
      {"abs", "/ x", Abs},
      {"attr", "obj name", Attr},
      {"batch", "value linecount fill_with=", Batch},
      {"capitalize", "s", DO(CapitalizeText(ToStr(c[0], true)))},
      {"center", "value width=", Center},
      {"count", "/ obj", DO(Length(c[0]))},
      {"d", "value default_value= boolean=", Default},
      {"default", "value default_value= boolean=", Default},
      {"dictsort", "value case_sensitive= by= reverse=", Dictsort},
      {"e", "/ s", Escape},
      {"escape", "/ s", Escape},
      {"filesizeformat", "value binary=", FileSizeFormat},
      {"first", "seq", First},
      {"float", "value default=", ToFloat},
      {"forceescape", "value", ForceEscape},
      {"format", "value *args", Format},
      {"groupby", "value attribute default= case_sensitive=", Groupby},
      {"indent", "s width= first= blank=", Indent},
      {"int", "value default= base=", ToInt},
      {"items", "value", Items},
      {"join", "value d= attribute=", Join},
      {"last", "seq", Last},
      {"length", "/ obj", DO(Length(c[0]))},
      {"list", "value", DO(MakeList(Collect(c[0])))},
      {"lower", "s", DO(LowerText(ToStr(c[0], true)))},
      {"map", "value *args", Map},
      {"max", "value case_sensitive= attribute=", DO(MinOrMax(c, true))},
      {"min", "value case_sensitive= attribute=", DO(MinOrMax(c, false))},
      {"pprint", "value", Pprint},
      {"random", "seq", Random},
      {"reject", "value *args", DO(SelectOrReject(c, false, false))},
      {"rejectattr", "value *args", DO(SelectOrReject(c, false, true))},
      {"replace", "s old new count=", filters::Replace},
      {"reverse", "value", Reverse},
      {"round", "value precision= method=", Round},
      {"safe", "value", Safe},
      {"select", "value *args", DO(SelectOrReject(c, true, false))},
      {"selectattr", "value *args", DO(SelectOrReject(c, true, true))},
      {"slice", "value slices fill_with=", SliceColumns},
      {"sort", "value reverse= case_sensitive= attribute=", Sort},
      {"string", "/ s", DO(ToStr(c[0], true))},
      {"striptags", "value", Striptags},
      {"sum", "iterable attribute= start=", Sum},
      {"title", "s", filters::Title},
      {"tojson", "x ensure_ascii= indent= separators= sort_keys=", ToJsonText},
      {"trim", "value chars=", Trim},
      {"truncate", "s length= killwords= end= leeway=", Truncate},
      {"unique", "value case_sensitive= attribute=", Unique},
      {"upper", "s", DO(UpperText(ToStr(c[0], true)))},
      {"urlencode", "value", Urlencode},
      {"urlize", "value trim_url_limit= nofollow= target= rel= extra_schemes=", Urlize},
      {"wordcount", "s", Wordcount},
      {"wordwrap", "s width= break_long_words= wrapstring= break_on_hyphens=", Wordwrap},
      {"xmlattr", "d autospace=", Xmlattr},
  };
  return table;
}

#undef DO

}  // namespace

const Native* FindFilter(std::string_view name) { return FindIn(Filters(), name); }

}  // namespace shardline::jinja
