// The functions behind the table of filters (filters.cc), by what they work on.
#pragma once

#include "gateway/text/jinja/value.h"

namespace shardline::jinja::filters {

// filters_text.cc
Value Center(CallFrame& call);
Value Escape(CallFrame& call);
Value ForceEscape(CallFrame& call);
Value Format(CallFrame& call);
Value Indent(CallFrame& call);
Value Replace(CallFrame& call);
Value Safe(CallFrame& call);
Value Striptags(CallFrame& call);
Value Title(CallFrame& call);
Value ToJsonText(CallFrame& call);
Value Trim(CallFrame& call);
Value Truncate(CallFrame& call);
Value Urlencode(CallFrame& call);
Value Wordcount(CallFrame& call);
Value Xmlattr(CallFrame& call);

// filters_wordwrap.cc, filters_urlize.cc, filters_pprint.cc
Value Wordwrap(CallFrame& call);
Value Urlize(CallFrame& call);
Value Pprint(CallFrame& call);

// filters_number.cc
Value Abs(CallFrame& call);
Value FileSizeFormat(CallFrame& call);
Value ToFloat(CallFrame& call);
Value ToInt(CallFrame& call);
Value Round(CallFrame& call);
Value Sum(CallFrame& call);

// filters_sequence.cc
Value Attr(CallFrame& call);
Value Batch(CallFrame& call);
Value Dictsort(CallFrame& call);
Value First(CallFrame& call);
Value Groupby(CallFrame& call);
Value Items(CallFrame& call);
Value Join(CallFrame& call);
Value Last(CallFrame& call);
Value MinOrMax(CallFrame& call, bool max);
Value Random(CallFrame& call);
Value Reverse(CallFrame& call);
Value SliceColumns(CallFrame& call);
Value Sort(CallFrame& call);
Value Unique(CallFrame& call);

// filters_select.cc
Value Map(CallFrame& call);
Value SelectOrReject(CallFrame& call, bool select, bool attribute);

}  // namespace shardline::jinja::filters
