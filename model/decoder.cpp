#include "model/decoder.h"

#include <algorithm>
#include <utility>

#include <c10/core/GradMode.h>
#include <c10/core/InferenceMode.h>

#include "core/error.h"
#include "core/interrupt.h"
#include "core/text.h"
#include "model/attention.h"
#include "model/decoder_parts.h"
#include "model/intraop.h"
#include "model/mlp.h"
#include "model/names.h"

namespace lancet {

namespace {

constexpr std::int64_t kGrain = 32768;  ///< elements of one parallel chunk

at::Tensor call(const Hook& hook, std::int64_t layer, Place place, const at::Tensor& value) {
  if (!hook) return value;
  at::Tensor out = hook(layer, place, value);
  if (!out.defined() || out.sizes() != value.sizes()) {
    fail(ErrorKind::kInternal, "model",
         "a hook changed the shape of its value (layer " + std::to_string(layer) + ")");
  }
  return out;
}

/// Rows of a float32 or bf16 table as float32 [ids' shape, width].
at::Tensor gather_rows(const at::Tensor& table, const at::Tensor& ids) {
  const std::int64_t width = table.size(1);
  auto shape = ids.sizes().vec();
  shape.push_back(width);
  at::Tensor out = at::empty(shape, at::kFloat);
  const auto* id = ids.const_data_ptr<std::int64_t>();
  auto* to = out.mutable_data_ptr<float>();
  for (std::int64_t i = 0; i < ids.numel(); ++i, to += width) {
    if (table.scalar_type() == at::kFloat) {
      std::copy_n(table.const_data_ptr<float>() + id[i] * width, width, to);
    } else {
      std::copy_n(table.const_data_ptr<at::BFloat16>() + id[i] * width, width, to);
    }
  }
  return out;
}

/// Adds to the residual stream.
at::Tensor add_to_stream(const at::Tensor& stream, const at::Tensor& update) {
  const bool grad =
      c10::GradMode::is_enabled() && (stream.requires_grad() || update.requires_grad());
  if (!is_native(stream) || grad || !stream.is_contiguous() || !update.is_contiguous())
    return stream + update;
  at::Tensor out = at::empty_like(stream);
  const auto* a = stream.const_data_ptr<float>();
  const auto* b = update.const_data_ptr<float>();
  auto* to = out.mutable_data_ptr<float>();
  intraop_chunks(stream.numel(), kGrain, [=](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) to[i] = a[i] + b[i];
  });
  return out;
}

/// RMS norm of each head of [batch, tokens, heads * d_head].
at::Tensor norm_heads(const Norm& norm, const at::Tensor& x, std::int64_t d_head) {
  return apply_norm(norm, x.view({x.size(0), x.size(1), -1, d_head})).view(x.sizes());
}

/// Starts of the rows and the RoPE table of one pass; the per-layer fields are filled in by the
/// loop.
AttentionPass begin_pass(const DecoderSpec& spec, const RopeCache& rope, const at::Tensor& hidden,
                         const Pass& pass) {
  const std::int64_t batch = hidden.size(0);
  const std::int64_t tokens = hidden.size(1);
  AttentionPass out;
  out.spec = &spec.attention;
  out.rope = &spec.rope;
  out.starts.assign(static_cast<std::size_t>(batch), 0);
  if (pass.cache != nullptr) out.starts = pass.cache->lengths();
  if (std::cmp_not_equal(out.starts.size(), batch) ||
      (!pass.lengths.empty() && std::cmp_not_equal(pass.lengths.size(), batch))) {
    fail(ErrorKind::kInternal, "model",
         "expected cache and lengths of " + std::to_string(batch) + " rows");
  }
  std::int64_t longest = 0;
  for (std::size_t b = 0; b < out.starts.size(); ++b) {
    longest = std::max(longest, out.starts[b] + (pass.lengths.empty() ? tokens : pass.lengths[b]));
  }
  const std::int64_t positions = *std::max_element(out.starts.begin(), out.starts.end()) + tokens;
  if (spec.rope.kind != RopeKind::kNone)
    out.table = rope.table(longest, positions, hidden.device());
  if (pass.append) out.append_to = pass.cache;
  return out;
}

void enter_layer(const DecoderSpec& spec, const Pass& pass, std::int64_t layer,
                 AttentionPass& attention) {
  attention.layer = layer;
  attention.window = spec.attention.window[static_cast<std::size_t>(layer)];
  const bool cached =
      std::ranges::any_of(attention.starts, [](std::int64_t start) { return start > 0; });
  if (cached) {
    attention.prefix_keys = pass.cache->keys(layer);
    attention.prefix_values = pass.cache->values(layer);
  }
}

/// The CPU keeps activations in float32 also over bf16 weights; a GPU computes in one dtype.
at::ScalarType activation_dtype(at::Device device, at::ScalarType dtype) {
  return device.is_cpu() ? at::kFloat : dtype;
}

/// The weights of a model by the name of their module.
struct WeightViews {
  const std::unordered_map<std::string, at::Tensor>& weights;
  const DecoderSpec& spec;

  [[nodiscard]] at::Tensor get(const std::string& name) const {
    const auto at = weights.find(name);
    return at == weights.end() ? at::Tensor() : at->second;
  }
  [[nodiscard]] Linear linear(const std::string& name) const {
    return {get(name + ".weight"), get(name + ".bias"), spec.layout};
  }
  [[nodiscard]] Norm norm(const std::string& name) const {
    const at::Tensor weight = get(name + ".weight");
    const double offset = spec.norm.weight_offset;
    return {spec.norm, offset == 0 ? weight : weight + offset, get(name + ".bias")};
  }
};

}  // namespace

at::TensorOptions Decoder::options() const noexcept {
  return at::TensorOptions(activation_dtype(device_, dtype_)).device(device_);
}

void Decoder::bind() {
  const c10::InferenceMode weights_are_normal_tensors(false);
  const NameSpec& names = spec_->names;
  const WeightViews views{weights_, *spec_};
  blocks_.clear();
  for (std::int64_t layer = 0; layer < spec_->layers; ++layer) {
    const auto at = [layer](const std::string& pattern) { return layer_name(pattern, layer); };
    Block block{
        .attn_norm = views.norm(at(names.attn_norm)),
        .mlp_norm = views.norm(at(names.mlp_norm)),
        .q_norm = {},
        .k_norm = {},
        .qkv = {views.linear(at(names.q)), views.linear(at(names.k)), views.linear(at(names.v))},
        .out = views.linear(at(names.o)),
        .inner = {views.linear(at(names.up))},
        .down = views.linear(at(names.down))};
    if (spec_->mlp.gated) block.inner.insert(block.inner.begin(), views.linear(at(names.gate)));
    if (spec_->attention.qk_norm) {
      block.q_norm = views.norm(at(names.q_norm));
      block.k_norm = views.norm(at(names.k_norm));
    }
    blocks_.push_back(std::make_shared<const Block>(std::move(block)));
  }
  embed_ = views.get(names.embed + ".weight");
  const at::Tensor head = spec_->tied_head ? embed_ : views.get(names.head + ".weight");
  ends_ = std::make_shared<const Ends>(
      Ends{views.norm(names.final_norm), {head, {}, MatrixLayout::kOutIn}});
}

at::Tensor Decoder::embed(const at::Tensor& ids) const {
  const at::Tensor cpu = ids.to(at::kCPU, at::kLong).contiguous();
  const auto* id = cpu.const_data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < cpu.numel(); ++i) {
    if (id[i] < 0 || id[i] >= spec_->vocab) {
      fail(ErrorKind::kInput, "model",
           "expected token ids from 0 to " + std::to_string(spec_->vocab - 1) + ", found " +
               std::to_string(id[i]) + " at position " + std::to_string(i));
    }
  }
  const at::Tensor rows =
      device_.is_cpu() ? gather_rows(embed_, cpu) : at::embedding(embed_, cpu.to(device_));
  return spec_->embed_scale == 1 ? rows : rows * spec_->embed_scale;
}

at::Tensor Decoder::run(at::Tensor hidden, std::int64_t first, std::int64_t last,
                        const Pass& pass) const {
  if (hidden.dim() != 3 || hidden.size(2) != spec_->d_model || first < 0 || last > spec_->layers) {
    fail(ErrorKind::kInternal, "model",
         "expected hidden states [batch, tokens, d_model] and layers of the model");
  }
  if (hidden.numel() == 0) return hidden;
  AttentionPass attention = begin_pass(*spec_, *rope_, hidden, pass);
  const Hook& hook = pass.hook;
  try {
    for (std::int64_t layer = first; layer < last; ++layer) {
      check_interrupted();
      const Block& block = *blocks_[static_cast<std::size_t>(layer)];
      enter_layer(*spec_, pass, layer, attention);
      hidden = call(hook, layer, Place::kBlockInput, hidden);
      auto qkv = apply_linears(block.qkv, apply_norm(block.attn_norm, hidden));
      if (spec_->attention.qk_norm) {
        qkv[0] = norm_heads(block.q_norm, qkv[0], spec_->attention.d_head);
        qkv[1] = norm_heads(block.k_norm, qkv[1], spec_->attention.d_head);
      }
      const at::Tensor mixed = apply_linear(block.out, attend(qkv[0], qkv[1], qkv[2], attention));
      const at::Tensor middle =
          add_to_stream(hidden, call(hook, layer, Place::kAttentionOutput, mixed));
      const auto inner = apply_linears(block.inner, apply_norm(block.mlp_norm, middle));
      const at::Tensor active = apply_activation(spec_->mlp.activation, inner[0],
                                                 inner.size() == 2 ? inner[1] : at::Tensor());
      const at::Tensor key = call(hook, layer, Place::kMlpKey, active);
      const at::Tensor written =
          call(hook, layer, Place::kMlpOutput, apply_linear(block.down, key));
      hidden = call(hook, layer, Place::kBlockOutput, add_to_stream(middle, written));
    }
  } catch (const StopPass&) {
  }
  return hidden;
}

at::Tensor Decoder::head(const at::Tensor& hidden) const {
  at::Tensor logits = apply_linear(ends_->head, final_norm(hidden)).to(at::kFloat);
  if (spec_->logit_softcap == 0) return logits;
  return at::tanh(logits / spec_->logit_softcap) * spec_->logit_softcap;
}

at::Tensor Decoder::final_norm(const at::Tensor& hidden) const {
  return apply_norm(ends_->final_norm, hidden);
}

at::Tensor Decoder::forward(const at::Tensor& ids, const Pass& pass) const {
  return head(run(embed(ids), 0, spec_->layers, pass));
}

MatrixRef Decoder::mlp_down(std::int64_t layer) const {
  if (layer < 0 || layer >= spec_->layers) {
    fail(ErrorKind::kUsage, "model",
         "expected a layer from 0 to " + std::to_string(spec_->layers - 1) + ", found " +
             std::to_string(layer));
  }
  const std::string name = layer_name(spec_->names.down, layer) + ".weight";
  return {name, weight(name), spec_->layout};
}

const at::Tensor& Decoder::weight(std::string_view name) const {
  const auto at = weights_.find(std::string(name));
  if (at != weights_.end()) return at->second;
  std::vector<std::string_view> known;
  for (const auto& [each, tensor] : weights_) known.push_back(each);
  fail(ErrorKind::kMismatch, "model",
       "expected a tensor of the model, found '" + printable(name) + "'",
       did_you_mean(name, known));
}

std::vector<std::string> Decoder::weight_names() const {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : weights_) names.push_back(name);
  std::ranges::sort(names);
  return names;
}

Decoder Decoder::with_weight(std::string_view name, at::Tensor value) const {
  const at::Tensor& old = weight(name);
  if (value.sizes() != old.sizes() || value.scalar_type() != old.scalar_type() ||
      value.device() != old.device()) {
    fail(ErrorKind::kInternal, "model",
         "a replaced weight must keep shape, dtype and device: " + std::string(name));
  }
  Decoder out = *this;
  out.weights_[std::string(name)] = value.contiguous();
  out.bind();
  return out;
}

}  // namespace lancet
