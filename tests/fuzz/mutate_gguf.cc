// Walks a GGUF file leniently, noting where each field lies; a lie is then written in place, or a
// whole entry is dropped, doubled or exchanged with its count kept right.
#include <algorithm>
#include <cstring>
#include <vector>

#include "tests/fuzz/mutate.h"

namespace shardline::fuzz {
namespace {

constexpr uint8_t kWidths[] = {1, 1, 2, 2, 4, 4, 4,
                               1, 0, 0, 8, 8, 8};  // of value types; 0: string, array
constexpr uint32_t kString = 8, kArray = 9;

struct Field {
  size_t at, width;
};
struct Entry {
  size_t begin, end;
  bool tensor;
};

class Walk {
 public:
  explicit Walk(std::string_view file) : file_(file) {
    if (file.size() < 24) return;
    Note(4, 4);
    Note(8, 8);
    Note(16, 8);
    const uint64_t tensors = Number(8, 8), entries = Number(16, 8);
    at_ = 24;
    for (uint64_t i = 0; i < entries && ok_; ++i) Part(false);
    for (uint64_t i = 0; i < tensors && ok_; ++i) Part(true);
  }

  std::vector<Field> numbers, texts;
  std::vector<Entry> parts;

 private:
  uint64_t Number(size_t at, size_t width) const {
    uint64_t value = 0;
    std::memcpy(&value, file_.data() + at, width);
    return value;
  }
  void Note(size_t at, size_t width) { numbers.push_back({at, width}); }
  bool Has(uint64_t bytes) { return ok_ = ok_ && bytes <= file_.size() - at_; }
  uint64_t Take(size_t width, bool noted = true) {
    if (!Has(width)) return 0;
    if (noted) Note(at_, width);
    at_ += width;
    return Number(at_ - width, width);
  }
  void Text(bool noted = true) {
    const uint64_t size = Take(8, noted);
    if (!Has(size)) return;
    if (noted && size > 0) texts.push_back({at_, size});
    at_ += size;
  }
  void Value(uint32_t type, int depth) {
    if (type == kString) return Text();
    if (type < std::size(kWidths) && type != kArray) {
      Take(kWidths[type]);
      return;
    }
    if (type != kArray || depth > 4) {
      ok_ = false;
      return;
    }
    const auto element = static_cast<uint32_t>(Take(4));
    const uint64_t size = Take(8);
    for (uint64_t i = 0; i < size && ok_; ++i) {
      // Of a long list the first, and now and then one.
      if (i < 4 || i % 61 == 0) {
        Value(element, depth + 1);
      } else if (element == kString) {
        Text(false);
      } else if (element < std::size(kWidths) && element != kArray) {
        Take(kWidths[element], false);
      } else {
        ok_ = false;
      }
    }
  }
  void Part(bool tensor) {
    const size_t begin = at_;
    Text();
    if (tensor) {
      const uint64_t rank = Take(4);
      for (uint64_t i = 0; i < rank && ok_; ++i) Take(8);
      Take(4);
      Take(8);
    } else {
      const auto type = static_cast<uint32_t>(Take(4));
      Value(type, 0);
    }
    if (ok_) parts.push_back({begin, at_, tensor});
  }

  std::string_view file_;
  size_t at_ = 0;
  bool ok_ = true;
};

void AddToCount(std::string& file, bool tensor, int by) {
  uint64_t count = 0;
  char* at = file.data() + (tensor ? 8 : 16);
  std::memcpy(&count, at, sizeof(count));
  count += static_cast<uint64_t>(static_cast<int64_t>(by));
  std::memcpy(at, &count, sizeof(count));
}

}  // namespace

uint64_t HostileNumber(Random& random, uint64_t value) {
  static constexpr uint64_t kBorders[] = {0,  1,  2,   3,   7,   8,   9,     16,   31,
                                          32, 33, 127, 128, 255, 256, 65535, 65536};
  switch (random() % 6) {
    case 0:
      return value + 1 - 2 * (random() % 2);
    case 1:
      return (uint64_t{1} << random() % 64) - random() % 2;
    case 2:
      return ~uint64_t{0} - random() % 64;
    case 3:
      return random() % 2 == 0 ? value * 2 : value / 2;
    case 4:
      return random() % 32;
    default:
      return kBorders[random() % std::size(kBorders)];
  }
}

std::string MutateGguf(std::string_view file, Random& random) {
  const Walk walk(file);
  std::string out(file);
  if (walk.numbers.empty()) return out + "GGUF";
  switch (random() % 10) {
    case 0:  // cut, or longer
      if (random() % 2 == 0) {
        out.resize(out.size() - random() % std::max<size_t>(1, out.size()));
      } else {
        out.resize(out.size() + random() % 64);
      }
      return out;
    case 1:
    case 2: {
      if (walk.texts.empty()) return out;
      const Field text = walk.texts[random() % walk.texts.size()];
      out[text.at + random() % text.width] = static_cast<char>(random());
      return out;
    }
    case 3: {  // one text in another's place
      if (walk.texts.empty()) return out;
      const Field to = walk.texts[random() % walk.texts.size()],
                  from = walk.texts[random() % walk.texts.size()];
      const uint64_t size = from.width;
      std::memcpy(out.data() + to.at - 8, &size, sizeof(size));
      return out.replace(to.at, to.width, file.substr(from.at, from.width));
    }
    case 4:
    case 5: {  // an entry gone, or twice
      if (walk.parts.empty()) return out;
      const Entry part = walk.parts[random() % walk.parts.size()];
      const bool gone = random() % 3 != 0;
      if (gone) {
        out.erase(part.begin, part.end - part.begin);
      } else {
        out.insert(part.end, file.substr(part.begin, part.end - part.begin));
      }
      AddToCount(out, part.tensor, gone ? -1 : 1);
      return out;
    }
    default: {
      const Field field = walk.numbers[random() % walk.numbers.size()];
      uint64_t value = 0;
      std::memcpy(&value, out.data() + field.at, field.width);
      value = HostileNumber(random, value);
      std::memcpy(out.data() + field.at, &value, field.width);
      return out;
    }
  }
}

}  // namespace shardline::fuzz
