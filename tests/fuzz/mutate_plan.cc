// Orders are taken apart with the messages' own reader, so that a lie in a plan comes with counts
// and lengths that fit; what is no plan is lied to word by word.
#include <algorithm>
#include <cstring>
#include <vector>

#include "shared/base/strings.h"
#include "shared/ipc/message.h"
#include "tests/fuzz/mutate.h"

namespace shardline::fuzz {
namespace {

struct Header {  // PlanBroadcast's
  uint64_t epoch;
  uint32_t order, reserved;
  uint64_t bytes;
};

template <typename T>
void LieInWord(T* at, Random& random) {
  *at = static_cast<T>(HostileNumber(random, static_cast<uint64_t>(*at)));
}

// Gone, twice, or exchanged with another.
template <typename T>
void MutateList(std::vector<T>& list, Random& random) {
  if (list.empty()) return list.resize(random() % 3);
  const auto at = list.begin() + static_cast<ptrdiff_t>(random() % list.size());
  switch (random() % 3) {
    case 0:
      list.erase(at);
      break;
    case 1:
      list.insert(at, T(*at));
      break;
    default:
      std::swap(*at, list[random() % list.size()]);
  }
}

// The rows' indices as they have to be, and as many tokens as rows have.
void Repair(StepPlan& plan) {
  uint64_t tokens = 0, wanted = 0;
  for (PlanRow& row : plan.rows) {
    row.first_token = static_cast<uint32_t>(tokens);
    row.first_wanted = static_cast<uint32_t>(wanted);
    row.token_count = std::clamp(row.token_count, 1, 64);
    row.wanted_count = std::min(row.wanted_count, static_cast<uint32_t>(row.token_count));
    tokens += static_cast<uint64_t>(row.token_count);
    wanted += row.wanted_count;
  }
  plan.tokens.resize(tokens, 1);
  plan.wanted.clear();
  for (const PlanRow& row : plan.rows) {
    for (uint32_t i = 0; i < row.wanted_count; ++i) plan.wanted.push_back(row.first_token + i);
  }
}

void MutatePlan(StepPlan& plan, Random& random) {
  switch (random() % 8) {
    case 0:
      MutateList(plan.rows, random);
      break;
    case 1:
      MutateList(plan.tokens, random);
      break;
    case 2:
      MutateList(plan.wanted, random);
      break;
    case 3:
      MutateList(plan.blocks, random);
      break;
    case 4:
      if (!plan.tokens.empty()) LieInWord(&plan.tokens[random() % plan.tokens.size()], random);
      break;
    case 5: {
      if (plan.blocks.empty()) return;
      BlockUpdate& update = plan.blocks[random() % plan.blocks.size()];
      int32_t words[sizeof(update) / 4];
      std::memcpy(words, &update, sizeof(update));
      LieInWord(&words[random() % std::size(words)], random);
      std::memcpy(&update, words, sizeof(update));
      break;
    }
    default: {
      if (plan.rows.empty()) return;
      PlanRow& row = plan.rows[random() % plan.rows.size()];
      uint32_t words[9];  // all but the form
      std::memcpy(words, &row, sizeof(words));
      LieInWord(&words[random() % std::size(words)], random);
      std::memcpy(&row, words, sizeof(words));
      if (random() % 4 == 0) row.form = static_cast<RowForm>(random() % 3);
    }
  }
  if (random() % 4 != 0) Repair(plan);
}

}  // namespace

std::string MutatePlans(std::string_view orders, Random& random) {
  std::vector<std::string_view> parts;  // a header each, and what follows it
  for (std::string_view rest = orders; !rest.empty();) {
    Header header{};
    std::memcpy(&header, rest.data(), std::min(rest.size(), sizeof(header)));
    const size_t size = std::min<uint64_t>(rest.size(), sizeof(header) + (header.bytes & 0xffffff));
    parts.push_back(rest.substr(0, size));
    rest.remove_prefix(size);
  }
  if (parts.empty()) return std::string(64, '\1');
  const size_t at = random() % parts.size();
  std::string part(parts[at]);
  part.resize(std::max(part.size(), sizeof(Header)));
  Header header;
  std::memcpy(&header, part.data(), sizeof(header));
  const auto bytes = std::as_bytes(std::span(part)).subspan(sizeof(header));
  auto plan = Decode<StepPlan>(bytes);
  const unsigned kind = random() % 12;
  if (kind == 0) {
    part.clear();
  } else if (kind == 1) {
    part += parts[random() % parts.size()];
  } else if (kind == 2 || !plan.ok()) {
    const size_t word = random() % (part.size() / 4) * 4;
    uint32_t value = 0;
    std::memcpy(&value, part.data() + word, sizeof(value));
    LieInWord(&value, random);
    std::memcpy(part.data() + word, &value, sizeof(value));
  } else {
    MutatePlan(*plan, random);
    std::vector<std::byte> encoded;
    Encode(*plan, encoded);
    header.bytes = encoded.size();
    part.assign(reinterpret_cast<const char*>(&header), sizeof(header));
    part.append(reinterpret_cast<const char*>(encoded.data()), encoded.size());
  }
  std::string out;
  for (size_t i = 0; i < parts.size(); ++i) out += i == at ? std::string_view(part) : parts[i];
  return out;
}

}  // namespace shardline::fuzz
