#pragma once
// What the tests of merging share: tensors in memory, one method on one tensor, tiny checkpoints on
// disk.

#include <map>
#include <random>
#include <string>
#include <vector>

#include "core/bytes.h"
#include "core/json.h"
#include "formats/containers/safetensors.h"
#include "formats/quant/decode.h"
#include "merge/post.h"
#include "tests/core/scratch.h"
#include "tests/merge/jacobi.h"

namespace lancet::test {

using Values = std::vector<double>;

class MemoryReader final : public TensorReader {
 public:
  MemoryReader(std::string label, std::vector<std::int64_t> shape, Values values)
      : TensorReader(std::move(label), std::move(shape)), values_(std::move(values)) {}
  void read(std::uint64_t begin, std::span<double> out) const override {
    std::copy_n(values_.begin() + static_cast<std::ptrdiff_t>(begin), out.size(), out.begin());
  }

 private:
  Values values_;
};

/// Values of parameters: of the tensor, or one for each model.
using Given = std::map<std::string, Values>;

/// One tensor merged by a method. Parameters that are not given have their defaults.
struct TensorMerge {
  std::string method;
  std::vector<std::int64_t> shape;
  std::vector<Values> models;
  Values base;  ///< empty: none
  Given given;
  Semantics semantics = Semantics::kFixed;
  std::uint64_t seed = 0;
  std::string name = "layer.weight";
  std::vector<std::string> keys;  ///< default: "0", "1", ...
  bool embedding = false, transposed = false;
  RecipePost post = {};
  const Linalg* linalg = &jacobi();
  std::uint64_t scratch = 64ULL << 20;  ///< memory of the statistics passes

  [[nodiscard]] Values run() const {
    const Method* found = find_merge_method(method);
    if (found == nullptr) fail(ErrorKind::kInternal, "test", "no method " + method);
    std::vector<std::unique_ptr<MemoryReader>> readers;
    std::vector<TaskModel> task_models;
    for (std::size_t i = 0; i < models.size(); ++i) {
      readers.push_back(
          std::make_unique<MemoryReader>("model " + std::to_string(i), shape, models[i]));
      task_models.push_back({readers.back().get(), keys.empty() ? std::to_string(i) : keys[i], {}});
      for (const MergeParameter& p : found->parameters)
        task_models.back().values.push_back(value(p, i));
    }
    Values of_tensor;
    for (const MergeParameter& p : found->parameters) of_tensor.push_back(value(p, 0));
    std::unique_ptr<MemoryReader> base_reader;
    if (!base.empty()) base_reader = std::make_unique<MemoryReader>("base", shape, base);
    MergeTask task(*found, name, std::move(task_models), base_reader.get(), of_tensor, semantics,
                   seed);
    task.set_context(
        {.linalg = linalg, .embedding = embedding, .transposed = transposed, .survey = {}});
    task.scratch_memory(scratch);
    Values out(task.elements());
    task.emit_values(apply_post(task, *found, post, found->prepare(task)), 0, out);
    return out;
  }

 private:
  [[nodiscard]] double value(const MergeParameter& p, std::size_t model) const {
    const auto at = given.find(std::string(p.name));
    if (at == given.end()) return p.fallback;
    return at->second.size() == 1 ? at->second[0] : at->second[model];
  }
};

/// A checkpoint of named tensors: {name: {shape, values}}, stored in `dtype`.
using NamedTensors = std::map<std::string, std::pair<std::vector<std::int64_t>, Values>>;

inline void save_model(const fs::path& directory, const NamedTensors& tensors,
                       DType dtype = DType::kF32, const Json& config = {{"model_type", "llama"}}) {
  fs::create_directories(directory);
  std::vector<OutputTensor> out;
  for (const auto& [name, tensor] : tensors) {
    std::vector<float> values(tensor.second.begin(), tensor.second.end());
    out.push_back(
        {name, dtype, tensor.first, [values, dtype](const std::function<void(Bytes)>& emit) {
           std::vector<std::byte> bytes(dtype_bytes(dtype, values.size()).value());
           encode_f32(dtype, values, bytes);
           emit(bytes);
         }});
  }
  save_safetensors(directory / "model.safetensors", std::move(out), {{"format", "pt"}});
  write_file(directory / "config.json", dump_json(config, 2));
}

inline Values random_values(std::size_t count, unsigned seed, double scale = 1) {
  std::mt19937_64 engine(seed);
  std::normal_distribution<double> normal(0, scale);
  Values out(count);
  for (double& v : out) v = static_cast<double>(static_cast<float>(normal(engine)));
  return out;
}

}  // namespace lancet::test
