// EngineImpl::forward: logits and hidden states of given tokens, into a safetensors file.

#include <chrono>
#include <cstring>

#include <c10/core/InferenceMode.h>

#include "cli/engine/engine_impl.h"
#include "core/error.h"
#include "formats/checkpoint.h"
#include "formats/containers/safetensors.h"
#include "model/load_options.h"

namespace lancet {
namespace {

/// "ids" of a safetensors file: integers [batch, tokens] or [tokens].
at::Tensor read_ids_file(const fs::path& path) {
  const auto file = Checkpoint::open(path);
  const TensorInfo* info = file->find("ids");
  const bool wide = info != nullptr && info->dtype == DType::kI64;
  if (info == nullptr || (!wide && info->dtype != DType::kI32) || info->shape.empty() ||
      info->shape.size() > 2) {
    fail(ErrorKind::kInput, "forward",
         "expected an int64 or int32 tensor 'ids' [batch, tokens] (" + path.string() + ")");
  }
  const Bytes bytes = file->data(*info);
  at::Tensor ids = at::empty(info->shape, wide ? at::kLong : at::kInt);
  std::memcpy(ids.mutable_data_ptr(), bytes.data(), bytes.size());
  return ids.to(at::kLong).view({-1, info->shape.back()});
}

at::Tensor read_ids(const ForwardRequest& request, const ModelSource& source) {
  at::Tensor ids;
  if (request.ids_file) {
    ids = read_ids_file(*request.ids_file);
  } else if (request.prompt) {
    const auto encoded = Tokenizer::open(source).encode(*request.prompt).ids;
    ids = at::tensor(at::ArrayRef<std::int32_t>(encoded), at::kInt).to(at::kLong).unsqueeze(0);
  } else {
    ids = at::tensor(at::ArrayRef<std::int64_t>(request.ids), at::kLong).unsqueeze(0);
  }
  if (ids.numel() == 0)
    fail(ErrorKind::kInput, "forward", "expected at least one token, found none");
  return ids;
}

OutputTensor output(const std::string& name, const at::Tensor& value) {
  const at::Tensor kept = value.to(at::kCPU, at::kFloat).contiguous();
  return {name, DType::kF32, kept.sizes().vec(), [kept](const auto& emit) {
            emit({static_cast<const std::byte*>(kept.const_data_ptr()), kept.nbytes()});
          }};
}

}  // namespace

Json EngineImpl::forward(const ForwardRequest& request, const RuntimeOptions& runtime) {
  prepare_runtime(runtime);
  const LoadOptions options = load_options(runtime);
  const ModelSource source = ModelSource::open(request.model);
  const at::Tensor ids = read_ids(request, source);
  const Decoder model = Decoder::load(source, options);
  const c10::InferenceMode inference;
  const auto begin = std::chrono::steady_clock::now();
  std::vector<OutputTensor> out;
  Pass pass;
  if (request.hidden) {
    pass.hook = [&out](std::int64_t layer, Place place, const at::Tensor& value) {
      if (place == Place::kBlockInput)
        out.push_back(output("hidden." + std::to_string(layer), value));
      return value;
    };
  }
  const at::Tensor hidden = model.run(model.embed(ids), 0, model.spec().layers, pass);
  // As transformers' hidden_states: the last one has passed the final norm.
  if (request.hidden)
    out.push_back(
        output("hidden." + std::to_string(model.spec().layers), model.final_norm(hidden)));
  out.push_back(output("logits", model.head(hidden)));
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  save_safetensors(request.out, std::move(out), {{"format", "pt"}});
  return {{"tokens", ids.numel()}, {"seconds", seconds.count()}};
}

}  // namespace lancet
