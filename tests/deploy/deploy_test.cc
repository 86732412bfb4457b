// The dashboard and the rules of deploy/ use metrics, labels and outcomes that the gateway exports,
// and the dashboard is one that Grafana imports.
#include <gtest/gtest.h>

#include <fstream>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "gateway/metrics_text.h"
#include "tests/deploy/promql.h"

namespace shardline {
namespace {

using Json = nlohmann::json;

const std::string kDeploy = std::string(SHARDLINE_SOURCE_DIR) + "/deploy/";

std::string ReadFile(const std::string& name) {
  std::ifstream file(kDeploy + name);
  EXPECT_TRUE(file.good()) << name;
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// What a scrape has: series names with their labels. Prometheus adds job and instance itself.
class Exported {
 public:
  Exported() {
    Metrics metrics;
    metrics.Startup("total", 1);
    for (const auto& family : MetricsText(metrics, /*vllm_names=*/false).Collect()) {
      std::set<std::string> labels = {"job", "instance"};
      for (const auto& metric : family.metric) {
        for (const auto& label : metric.label) {
          labels.insert(label.name);
          values_[label.name].insert(label.value);
        }
      }
      if (family.type != prometheus::MetricType::Histogram) {
        series_[family.name] = labels;
        continue;
      }
      series_[family.name + "_sum"] = series_[family.name + "_count"] = labels;
      labels.insert("le");
      series_[family.name + "_bucket"] = labels;
    }
    series_["up"] = {"job", "instance"};  // Prometheus' own
  }

  void Add(const std::string& recorded, const std::set<std::string>& labels) {
    series_[recorded] = labels;
  }

  // Fails for each name of `expression` that no scrape has.
  void Check(const std::string& expression, const std::string& where) const {
    const PromqlNames names = NamesOf(expression);
    EXPECT_FALSE(names.metrics.empty()) << where << ": " << expression;
    std::set<std::string> labels;
    for (const std::string& metric : names.metrics) {
      const auto found = series_.find(metric);
      if (found == series_.end()) {
        ADD_FAILURE() << where << ": no metric " << metric << " in " << expression;
      } else {
        labels.insert(found->second.begin(), found->second.end());
      }
    }
    for (const auto& [metric, label] : names.matchers) {
      const auto found = series_.find(metric);
      if (found == series_.end()) continue;
      EXPECT_TRUE(found->second.count(label)) << where << ": " << metric << " has no " << label;
    }
    for (const std::string& label : names.grouping) {
      EXPECT_TRUE(labels.count(label)) << where << ": no label " << label << " in " << expression;
    }
    for (const auto& [label, value] : names.values) {
      EXPECT_TRUE(values_.at(label).count(value))
          << where << ": " << label << " is never " << value;
    }
  }

 private:
  std::map<std::string, std::set<std::string>> series_;  // → labels
  std::map<std::string, std::set<std::string>> values_;  // of labels
};

struct Rule {
  std::string name;
  std::string expression;
  bool records = false;
};

// The rules of a file of ours: "- record: NAME" or "- alert: NAME", then "expr: …" on one line or,
// folded, on the lines below that are indented further.
std::vector<Rule> ReadRules(const std::string& file) {
  static const std::regex kStart(R"(\s*- (record|alert): (\S+))");
  static const std::regex kExpression(R"((\s*)expr: (.*))");
  std::vector<Rule> rules;
  std::istringstream lines(ReadFile(file));
  size_t folded = std::string::npos;  // the indentation of the key whose lines go on
  for (std::string line; std::getline(lines, line);) {
    std::smatch match;
    const size_t indent = line.find_first_not_of(' ');
    if (folded != std::string::npos && indent != std::string::npos && indent > folded) {
      rules.back().expression += line.substr(indent) + " ";
      continue;
    }
    folded = std::string::npos;
    if (std::regex_match(line, match, kStart)) {
      rules.push_back({match[2], "", match[1] == "record"});
    } else if (std::regex_match(line, match, kExpression) && !rules.empty()) {
      if (match[2] == ">-") {
        folded = static_cast<size_t>(match[1].length());
      } else {
        rules.back().expression = match[2];
      }
    }
  }
  return rules;
}

Exported WithRecorded() {
  Exported exported;
  for (const Rule& rule : ReadRules("prometheus/recording_rules.yml")) {
    exported.Add(rule.name, NamesOf(rule.expression).grouping);
  }
  return exported;
}

TEST(Promql, NamesAreFound) {
  const PromqlNames names = NamesOf(
      R"(histogram_quantile(0.99, sum by (le, job) (rate(a_bucket{x="1", y!="2", z=~"q"}[5m])))
         / on (job) group_left (v) (b:c > bool 1e3) or sum(d) without (w) unless vector(0))");
  EXPECT_EQ(names.metrics, (std::set<std::string>{"a_bucket", "b:c", "d"}));
  EXPECT_EQ(names.grouping, (std::set<std::string>{"le", "job", "v", "w"}));
  EXPECT_EQ(names.matchers, (std::set<std::pair<std::string, std::string>>{
                                {"a_bucket", "x"}, {"a_bucket", "y"}, {"a_bucket", "z"}}));
  EXPECT_EQ(names.values, (std::set<std::pair<std::string, std::string>>{{"x", "1"}, {"y", "2"}}));
}

TEST(Rules, UseWhatIsExported) {
  const Exported exported = WithRecorded();
  const std::vector<Rule> recording = ReadRules("prometheus/recording_rules.yml");
  const std::vector<Rule> alerts = ReadRules("prometheus/alerts.yml");
  ASSERT_GE(recording.size(), 15u);
  ASSERT_GE(alerts.size(), 10u);
  std::set<std::string> names;
  for (const Rule& rule : recording) {
    EXPECT_TRUE(rule.records) << rule.name;
    EXPECT_NE(rule.name.find(':'), std::string::npos) << rule.name;
    EXPECT_TRUE(names.insert(rule.name).second) << rule.name << " is recorded twice";
    Exported().Check(rule.expression, rule.name);
  }
  for (const Rule& rule : alerts) {
    EXPECT_FALSE(rule.records) << rule.name;
    EXPECT_TRUE(names.insert(rule.name).second) << rule.name << " is there twice";
    exported.Check(rule.expression, rule.name);
  }
}

const Json& Dashboard() {
  static const Json dashboard = Json::parse(ReadFile("grafana/shardline.json"));
  return dashboard;
}

TEST(Dashboard, UsesWhatIsExported) {
  const Exported exported = WithRecorded();
  size_t expressions = 0;
  // Every "expr" and every query of a variable, wherever it stands; legends name labels.
  const std::function<void(const Json&, const std::string&)> walk = [&](const Json& json,
                                                                        const std::string& where) {
    static const std::regex kLabel(R"(\{\{\s*(\w+)\s*\}\})");
    static const std::regex kLabelValues(R"(label_values\((\w+), (\w+)\))");
    const std::string here = json.is_object() ? json.value("title", where) : where;
    if (json.is_object() && json.contains("expr")) {
      const std::string expression = json["expr"];
      exported.Check(expression, here);
      ++expressions;
      const std::string legend = json.value("legendFormat", json.value("textFormat", ""));
      for (std::sregex_iterator it(legend.begin(), legend.end(), kLabel), end; it != end; ++it) {
        const std::string label = (*it)[1];
        // A legend names labels that the aggregation keeps, or those of the plain series.
        const auto grouping = NamesOf(expression).grouping;
        EXPECT_TRUE(grouping.empty() || grouping.count(label)) << here << ": " << legend;
        exported.Check("max by (" + label + ") (" + expression + ")", here);
      }
    }
    if (json.is_string() && std::regex_match(json.get<std::string>(), kLabelValues)) {
      exported.Check(std::regex_replace(json.get<std::string>(), kLabelValues, "sum by ($2) ($1)"),
                     here);
      ++expressions;
    }
    if (json.is_structured()) {
      for (const Json& child : json) walk(child, here);
    }
  };
  walk(Dashboard(), "dashboard");
  EXPECT_GE(expressions, 40u);
}

TEST(Dashboard, CanBeImported) {
  const Json& dashboard = Dashboard();
  EXPECT_TRUE(dashboard["id"].is_null());  // Grafana gives it one
  EXPECT_FALSE(dashboard["uid"].get<std::string>().empty());
  EXPECT_LE(dashboard["uid"].get<std::string>().size(), 40u);
  EXPECT_FALSE(dashboard["title"].get<std::string>().empty());
  EXPECT_GE(dashboard["schemaVersion"].get<int>(), 36);
  std::map<std::string, std::string> variables;
  for (const Json& variable : dashboard["templating"]["list"]) {
    variables[variable["name"]] = variable["type"];
  }
  EXPECT_EQ(variables["datasource"], "datasource");
  EXPECT_EQ(variables["instance"], "query");
  for (const Json& panel : dashboard["panels"]) {
    const std::string title = panel["title"];
    if (panel["type"] == "row") continue;
    EXPECT_EQ(panel["datasource"]["uid"], "${datasource}") << title;
    EXPECT_FALSE(panel["targets"].empty()) << title;
    std::set<std::string> letters;
    for (const Json& target : panel["targets"]) {
      EXPECT_EQ(target["datasource"]["uid"], "${datasource}") << title;
      EXPECT_TRUE(letters.insert(target["refId"]).second) << title;
      EXPECT_NE(target["expr"].get<std::string>().find("$instance"), std::string::npos) << title;
    }
  }
}

TEST(Dashboard, PanelsLieBesideEachOther) {
  constexpr int kColumns = 24;
  std::set<int> ids;
  std::map<std::pair<int, int>, std::string> cells;
  for (const Json& panel : Dashboard()["panels"]) {
    const std::string title = panel["title"];
    EXPECT_TRUE(ids.insert(panel["id"].get<int>()).second) << title;
    const Json& at = panel["gridPos"];
    const int x = at["x"], y = at["y"], w = at["w"], h = at["h"];
    ASSERT_TRUE(x >= 0 && y >= 0 && w > 0 && h > 0 && x + w <= kColumns) << title;
    for (int row = y; row < y + h; ++row) {
      for (int column = x; column < x + w; ++column) {
        const auto [cell, free] = cells.emplace(std::pair(row, column), title);
        ASSERT_TRUE(free) << title << " lies on " << cell->second;
      }
    }
  }
}

}  // namespace
}  // namespace shardline
