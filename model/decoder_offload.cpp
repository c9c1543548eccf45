// Matrices that stay in their files: LoadOptions::offload.

#include <memory>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "model/decoder.h"
#include "model/file_matrix.h"
#include "model/lora.h"
#include "model/names.h"

namespace lancet {
namespace {

/// Those of linear layers, stacked experts, embeddings and head.
std::unordered_set<std::string> file_names(const DecoderSpec& spec) {
  const NameSpec& names = spec.names;
  std::unordered_set<std::string> out;
  for (const LinearModule& module : linear_modules(spec)) out.insert(module.name + ".weight");
  for (const std::string* name : {&names.embed, &names.project_in, &names.project_out})
    out.insert(*name + ".weight");
  if (!spec.tied_head) out.insert(names.head + ".weight");
  if (spec.moe.layout != ExpertLayout::kStacked) return out;
  for (std::int64_t layer = 0; layer < spec.layers; ++layer)
    out.insert({layer_name(names.expert.gate_up, layer), layer_name(names.expert.down, layer)});
  return out;
}

}  // namespace

void Decoder::leave_in_files(const ModelSource& source) {
  const auto shared = std::make_shared<const ModelSource>(source);
  for (const std::string& name : file_names(*spec_)) {
    const TensorInfo* info = source.find(name);
    if (info == nullptr || info->shape.size() < 2) continue;  // load_weights says so
    const auto file = std::make_shared<const FileMatrix>(shared, *info, dtype_ == at::kBFloat16);
    packed_.emplace(name, std::make_shared<const PackedMatrix>(file, 0, file->rows()));
  }
  std::vector<std::vector<std::shared_ptr<const PackedMatrix>>> ahead(
      static_cast<std::size_t>(spec_->layers));
  for (const LinearModule& module : linear_modules(*spec_)) {
    const auto at = packed_.find(module.name + ".weight");
    if (!module.expert && at != packed_.end())
      ahead[static_cast<std::size_t>(module.layer)].push_back(at->second);
  }
  ahead_ = std::make_shared<const decltype(ahead)>(std::move(ahead));
}

}  // namespace lancet
