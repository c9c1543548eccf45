#include "surgery/statistics/checkpoint.h"

#include <fmt/format.h>

#include "core/error.h"
#include "core/log.h"
#include "formats/containers/npz.h"
#include "formats/containers/safetensors.h"

namespace lancet {
namespace {

OutputTensor matrix_output(const std::string& name, const at::Tensor& matrix) {
  const at::Tensor plain = matrix.contiguous();
  return {name, DType::kF64, plain.sizes().vec(), [plain](const std::function<void(Bytes)>& emit) {
            emit(Bytes(static_cast<const std::byte*>(plain.const_data_ptr()), plain.nbytes()));
          }};
}

std::string sum_name(std::int64_t layer) { return fmt::format("sum.{}", layer); }

at::Tensor read_sum(const MappedFile& file, const SafetensorsHeader& header, std::int64_t layer) {
  for (const TensorInfo& info : header.tensors) {
    if (info.name != sum_name(layer) || info.dtype != DType::kF64 || info.shape.size() != 2)
      continue;
    at::Tensor out = at::empty(info.shape, at::kDouble);
    std::memcpy(out.mutable_data_ptr(), file.bytes().data() + info.offset, info.bytes);
    return out;
  }
  fail(ErrorKind::kInput, "covariance", fmt::format("expected the tensor {}", sum_name(layer)));
}

}  // namespace

void save_moments(const fs::path& path, const Moments& moments, const Json& identity) {
  std::vector<OutputTensor> tensors;
  for (std::size_t i = 0; i < moments.layers.size(); ++i)
    tensors.push_back(matrix_output(sum_name(moments.layers[i]), moments.sums[i]));
  (void)save_safetensors(path, std::move(tensors),
                         {{"identity", dump_json(identity)},
                          {"tokens", std::to_string(moments.tokens)},
                          {"documents", std::to_string(moments.documents)},
                          {"groups", std::to_string(moments.groups)}});
}

Moments load_moments(const fs::path& path, const std::vector<std::int64_t>& layers,
                     const Json& identity) {
  if (!fs::exists(path)) return {};
  try {
    const MappedFile file(path);
    const SafetensorsHeader header = parse_safetensors(file.bytes(), file.size(), path.string());
    if (header.metadata.at("identity") != dump_json(identity)) {
      log::warn(fmt::format("{} belongs to another run: collecting afresh", path.string()));
      return {};
    }
    Moments out{layers,
                {},
                std::stoll(header.metadata.at("tokens")),
                std::stoll(header.metadata.at("documents")),
                std::stoll(header.metadata.at("groups"))};
    for (const std::int64_t layer : layers) out.sums.push_back(read_sum(file, header, layer));
    return out;
  } catch (const std::exception& error) {
    log::warn(fmt::format("{} is damaged ({}): collecting afresh", path.string(), error.what()));
    return {};
  }
}

std::string save_covariances(const fs::path& path, const Moments& moments,
                             const std::vector<std::string>& names, const Json& identity) {
  std::vector<OutputTensor> tensors;
  for (std::size_t i = 0; i < names.size(); ++i)
    tensors.push_back(matrix_output(names[i] + ".second_moment",
                                    moments.sums[i] / static_cast<double>(moments.tokens)));
  return save_safetensors(path, std::move(tensors),
                          {{"identity", dump_json(identity)},
                           {"tokens", std::to_string(moments.tokens)},
                           {"documents", std::to_string(moments.documents)}});
}

std::vector<fs::path> export_covariances(const fs::path& folder, const Moments& moments,
                                         const std::vector<std::string>& names) {
  fs::create_directories(folder);
  const std::u32string constructor = U"SecondMoment()";
  std::vector<fs::path> out;
  for (std::size_t i = 0; i < names.size(); ++i) {
    const at::Tensor sum = moments.sums[i].to(at::kFloat).contiguous();
    const Bytes values(static_cast<const std::byte*>(sum.const_data_ptr()), sum.nbytes());
    out.push_back(folder / fmt::format("{}_float32_mom2_{}.npz", names[i], moments.documents));
    save_npz(out.back(),
             {{"mom2.constructor",
               fmt::format("<U{}", constructor.size()),
               {},
               std::as_bytes(std::span(constructor))},
              {"mom2.count", "<i8", {}, std::as_bytes(std::span(&moments.tokens, 1))},
              {"mom2.mom2", "<f4", sum.sizes().vec(), values},
              {"sample_size", "<i8", {}, std::as_bytes(std::span(&moments.documents, 1))}});
  }
  return out;
}

}  // namespace lancet
