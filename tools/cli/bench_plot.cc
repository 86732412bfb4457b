// The picture of `shardline bench --plot`: throughput over concurrency or rate, on a logarithmic
// axis with a tick at each load.
#include <algorithm>
#include <cmath>

#include "shared/base/strings.h"
#include "tools/cli/bench_report.h"
#include "tools/cli/table.h"

namespace shardline::cli {
namespace {

constexpr double kWidth = 720, kHeight = 440;
constexpr double kLeft = 80, kRight = 30, kTop = 60, kBottom = 70;

std::string ForXml(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '<') {
      out += "&lt;";
    } else if (c == '&') {
      out += "&amp;";
    } else if (static_cast<unsigned char>(c) >= 0x20) {
      out += c;
    }
  }
  return out;
}

std::string Text(double x, double y, const char* anchor, const std::string& text) {
  return Cat("<text x=\"", Fixed("%.1f", x), "\" y=\"", Fixed("%.1f", y), "\" text-anchor=\"",
             anchor, "\">", ForXml(text), "</text>\n");
}

std::string Line(double x1, double y1, double x2, double y2, const char* colour) {
  return Cat("<line x1=\"", Fixed("%.1f", x1), "\" y1=\"", Fixed("%.1f", y1), "\" x2=\"",
             Fixed("%.1f", x2), "\" y2=\"", Fixed("%.1f", y2), "\" stroke=\"", colour, "\"/>\n");
}

// 1, 2 or 5 times a power of ten, so that about five of them reach `most`.
double Step(double most) {
  const double rough = most / 5;
  const double power = std::pow(10, std::floor(std::log10(rough)));
  for (const double factor : {1, 2, 5}) {
    if (rough <= factor * power) return factor * power;
  }
  return 10 * power;
}

double LoadOf(const BenchResult& result) {
  return result.load.concurrency > 0 ? result.load.concurrency : result.load.rate;
}

}  // namespace

std::string BenchSvg(const BenchRequests& requests, const std::vector<BenchResult>& results) {
  double least = LoadOf(results[0]), most = least, highest = 1;
  for (const BenchResult& result : results) {
    least = std::min(least, LoadOf(result));
    most = std::max(most, LoadOf(result));
    highest = std::max(highest, result.tokens_per_second);
  }
  const double step = Step(highest), top = step * std::ceil(highest / step);
  const double width = kWidth - kLeft - kRight, height = kHeight - kTop - kBottom;
  auto x = [&](const BenchResult& result) {
    if (most == least) return kLeft + width / 2;
    return kLeft + width * std::log(LoadOf(result) / least) / std::log(most / least);
  };
  auto y = [&](double value) { return kTop + height * (1 - value / top); };

  std::string svg =
      Cat("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 ", kWidth, " ", kHeight,
          "\" font-family=\"sans-serif\" font-size=\"13\">\n"
          "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
          Text(kWidth / 2, 26, "middle",
               Cat(requests.model, ": ", requests.prompt_tokens, " prompt and ",
                   requests.output_tokens, " output tokens")));
  for (double value = 0; value <= top * 1.0001; value += step) {
    svg += Line(kLeft, y(value), kLeft + width, y(value), value == 0 ? "#333" : "#ddd");
    svg += Text(kLeft - 8, y(value) + 4, "end", Fixed("%.9g", value));
  }
  svg += Line(kLeft, kTop, kLeft, kTop + height, "#333");
  std::string points, marks;
  for (const BenchResult& result : results) {
    const double at = x(result), value = y(result.tokens_per_second);
    svg += Line(at, kTop + height, at, kTop + height + 5, "#333");
    svg += Text(at, kTop + height + 20, "middle", Cat(LoadOf(result)));
    points += Cat(points.empty() ? "" : " ", Fixed("%.1f", at), ",", Fixed("%.1f", value));
    marks += Cat("<circle cx=\"", Fixed("%.1f", at), "\" cy=\"", Fixed("%.1f", value),
                 "\" r=\"4\" fill=\"#1f77b4\"/>\n");
  }
  svg += Cat("<polyline points=\"", points,
             "\" fill=\"none\" stroke=\"#1f77b4\" stroke-width=\"2\"/>\n", marks);
  svg += Text(kLeft + width / 2, kHeight - 18, "middle",
              results[0].load.concurrency > 0 ? "concurrent requests" : "requests per second");
  // The legend.
  svg += Line(kLeft, 44, kLeft + 24, 44, "#1f77b4");
  svg += Text(kLeft + 32, 48, "start", "output tokens per second");
  return svg + "</svg>\n";
}

}  // namespace shardline::cli
