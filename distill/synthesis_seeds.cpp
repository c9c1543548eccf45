#include "distill/synthesis_seeds.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"
#include "core/file.h"

namespace lancet {

SynthesisSeeds::SynthesisSeeds(const Job& job, unsigned part, unsigned parts)
    : job_(job), recipe_(*job.data.recipe), part_(part), parts_(parts) {
  seeds_ = read_seeds(job, duplicates_);
  if (parts > 1 && recipe_.next_round != nullptr)
    fail(ErrorKind::kUsage, "synthesize",
         fmt::format("{} works in rounds over all its rows: it cannot be done in parts",
                     recipe_.name));
}

std::vector<SeedItem> SynthesisSeeds::items_of(const std::vector<Seed>& seeds) const {
  std::vector<SeedItem> out;
  for (const Seed& seed : seeds) {
    for (std::uint32_t sample = 0; sample < job_.data.samples; ++sample) {
      std::string key = seed_key(recipe_, seed.value, sample);
      if (!in_part(key, part_, parts_)) continue;
      out.push_back({seed.value, std::move(key), seed.label, sample});
    }
  }
  return out;
}

std::vector<SeedItem> SynthesisSeeds::round(std::uint32_t number,
                                            const std::vector<Json>& rows) const {
  if (recipe_.next_round == nullptr)
    return number == 0 ? items_of(seeds_) : std::vector<SeedItem>{};
  std::vector<Json> values;
  for (const Seed& seed : seeds_) values.push_back(seed.value);
  std::vector<Seed> next;
  const RoundInput input{number, values, rows, job_.data.options, job_.seed};
  for (Json& value : recipe_.next_round(input))
    next.push_back({std::move(value), fmt::format("round {}:{}", number + 1, next.size() + 1)});
  return items_of(next);
}

fs::path SynthesisSeeds::own_journal(const fs::path& out) const {
  if (whole()) return out.string() + ".journal";
  return out.string() + fmt::format(".part-{}-of-{}.journal", part_, parts_);
}

std::vector<fs::path> SynthesisSeeds::part_journals(const fs::path& out) const {
  std::vector<fs::path> found;
  const fs::path folder = out.has_parent_path() ? out.parent_path() : fs::path(".");
  if (!whole() || !fs::is_directory(folder)) return found;
  const std::string prefix = out.filename().string() + ".part-";
  for (const auto& each : fs::directory_iterator(folder)) {
    const std::string name = each.path().filename().string();
    if (name.starts_with(prefix) && name.ends_with(".journal")) found.push_back(each.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace lancet
