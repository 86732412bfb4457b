#include "tools/cli/table.h"

#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <cstdio>
#include <ostream>

namespace shardline::cli {

size_t Width(std::string_view text) {
  return static_cast<size_t>(std::count_if(text.begin(), text.end(), [](char c) {
    return (static_cast<unsigned char>(c) & 0xc0) != 0x80;
  }));
}

void WriteTable(std::vector<Row> rows, std::ostream& out) {
  std::vector<bool> right(rows[0].size());
  for (size_t i = 0; i < right.size(); ++i) {
    right[i] = rows[0][i].rfind('>', 0) == 0;
    if (right[i]) rows[0][i].erase(0, 1);
  }
  std::vector<size_t> widths(right.size());
  for (const Row& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], Width(row[i]));
  }
  for (const Row& row : rows) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string fill(widths[i] - Width(row[i]), ' ');
      line += right[i] ? fill + row[i] : row[i] + fill;
      if (i + 1 < row.size()) line += "  ";
    }
    line.resize(line.find_last_not_of(' ') + 1);
    out << line << "\n";
  }
}

std::string Fixed(const char* format, double value) {
  char buffer[400];  // "%f" of the largest double
  std::snprintf(buffer, sizeof(buffer), format, value);
  return buffer;
}

absl::StatusOr<std::string> ToJson(const google::protobuf::Message& message, bool all) {
  google::protobuf::util::JsonPrintOptions print;
  print.preserve_proto_field_names = true;
  print.always_print_primitive_fields = all;
  std::string text;
  if (!google::protobuf::util::MessageToJsonString(message, &text, print).ok()) {
    return Internal("the server's answer is not UTF-8");
  }
  return text;
}

}  // namespace shardline::cli
