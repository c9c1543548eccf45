// A Decoder's weights by their part in the pass.

#include <string>
#include <utility>

#include "model/decoder_parts.h"
#include "model/names.h"

namespace lancet {
namespace {

using PackedWeights = std::unordered_map<std::string, std::shared_ptr<const PackedMatrix>>;

/// The weights of a model by the name of their module; `layer` fills the first hole of a name.
class Views {
 public:
  Views(const std::unordered_map<std::string, at::Tensor>& weights, const PackedWeights& packed,
        const LoraParts& low_rank, const DecoderSpec& spec, RowForm rows)
      : weights_(weights), packed_(packed), low_rank_(low_rank), spec_(spec), rows_(rows) {}

  void enter(std::int64_t layer, at::Device device) {
    layer_ = layer;
    device_ = device;
  }

  /// Undefined where the model has no such tensor.
  [[nodiscard]] at::Tensor get(const std::string& pattern, std::string_view suffix,
                               std::int64_t second = 0) const {
    if (pattern.empty()) return {};
    const auto at = weights_.find(layer_name(pattern, layer_, second).append(suffix));
    return at == weights_.end() ? at::Tensor() : at->second;
  }

  [[nodiscard]] Linear linear(const std::string& pattern, std::int64_t second = 0) const {
    Linear out{
        get(pattern, ".weight", second), get(pattern, ".bias", second), spec_.layout, {}, {}};
    if (!out.weight.defined()) return out;
    const std::string module = layer_name(pattern, layer_, second);
    if (const auto at = low_rank_.find(module); at != low_rank_.end()) out.low_rank = at->second;
    out.packed = packed(module + ".weight");
    out.rows = rows_;
    return out;
  }
  [[nodiscard]] Linear table(const std::string& name) const {
    const auto at = low_rank_.find(name);
    return {get(name, ".weight"),     get(name, ".bias"),
            MatrixLayout::kOutIn,     at == low_rank_.end() ? nullptr : at->second,
            packed(name + ".weight"), rows_};
  }
  /// Null where the weight is a tensor.
  [[nodiscard]] std::shared_ptr<const PackedMatrix> packed(const std::string& name) const {
    const auto at = packed_.find(name);
    return at == packed_.end() ? nullptr : at->second;
  }

  /// A norm of the stream, where the model has it.
  [[nodiscard]] Norm norm(const std::string& pattern) const {
    if (pattern.empty()) return {};
    return norm(pattern, spec_.norm, spec_.d_model);
  }
  [[nodiscard]] Norm norm(const std::string& pattern, const NormSpec& spec,
                          std::int64_t width) const {
    at::Tensor weight = get(pattern, ".weight");
    if (!spec.weight) weight = ones(width);
    // 1 + w in bfloat16 would lose the digits of w.
    if (spec.weight_offset != 0 && spec.kind == NormKind::kRms) weight = weight.to(at::kFloat);
    if (spec.weight_offset != 0) weight = weight + spec.weight_offset;
    return {spec, weight, get(pattern, ".bias")};
  }

  [[nodiscard]] QkNorm qk_norm(const std::string& pattern, std::int64_t heads) const {
    const AttentionSpec& a = spec_.attention;
    if (a.qk_norm == QkNormWidth::kNone) return {};
    if (a.qk_norm != QkNormWidth::kEachHead) {
      const bool full = a.qk_norm == QkNormWidth::kFull;
      return {norm(pattern, a.qk_norm_spec, full ? heads * a.d_head : a.d_head), {}, {}};
    }
    const Norm plain{a.qk_norm_spec, ones(a.d_head), {}};
    return {plain, every_head(pattern, ".weight", heads), every_head(pattern, ".bias", heads)};
  }

  [[nodiscard]] MlpPart mlp(const MlpNames& names, std::int64_t expert = 0) const {
    MlpPart part{.activation = spec_.mlp.activation,
                 .inner = {},
                 .fused = !names.gate_up.empty(),
                 .interleaved = false,
                 .down = linear(names.down, expert)};
    if (part.fused) {
      part.inner = {linear(names.gate_up, expert)};
    } else {
      if (spec_.mlp.gated) part.inner.push_back(linear(names.gate, expert));
      part.inner.push_back(linear(names.up, expert));
    }
    return part;
  }

  [[nodiscard]] MoePart moe() const {
    const NameSpec& names = spec_.names;
    MoePart part{.router = linear(names.router),
                 .correction = get(names.correction, ""),
                 .experts = {},
                 .shared = {},
                 .shared_gate = linear(names.shared_gate)};
    part.router.rows = part.shared_gate.rows = RowForm::kPlain;
    for (std::int64_t e = 0; e < spec_.moe.experts; ++e) {
      part.experts.push_back(spec_.moe.layout == ExpertLayout::kStacked ? stacked(e)
                                                                        : mlp(names.expert, e));
    }
    if (spec_.moe.shared_d_ff > 0) part.shared = mlp(names.shared);
    return part;
  }

  [[nodiscard]] SsmPart state_space() const {
    const SsmNames& names = spec_.names.ssm;
    const SsmSpec& ssm = spec_.ssm;
    const auto wide = [&](const std::string& name, std::string_view suffix) {
      const at::Tensor found = get(name, suffix);
      return found.defined() ? found.to(at::kFloat) : found;
    };
    SsmPart part{.in = linear(names.in),
                 .out = linear(names.out),
                 .x = linear(names.x),
                 .dt = linear(names.dt),
                 .conv_weight = wide(names.conv, ".weight").squeeze(1).t().contiguous(),
                 .conv_bias = wide(names.conv, ".bias"),
                 .a = -wide(names.a_log, "").exp().view({ssm.heads, -1}),
                 .d = wide(names.d, ""),
                 .dt_bias = wide(names.dt_bias, ""),
                 .dt_norm = {},
                 .b_norm = {},
                 .c_norm = {},
                 .norm = {}};
    if (ssm.kind == SsmKind::kMamba2) part.norm = norm(names.norm, ssm.norm, ssm.width());
    if (!ssm.inner_norms) return part;
    part.dt_norm = norm(names.dt_norm, ssm.norm, ssm.dt_rank);
    part.b_norm = norm(names.b_norm, ssm.norm, ssm.d_state);
    part.c_norm = norm(names.c_norm, ssm.norm, ssm.d_state);
    return part;
  }

  [[nodiscard]] AttentionPart attention() const {
    const NameSpec& names = spec_.names;
    AttentionPart part;
    part.out = linear(names.o);
    part.sinks = get(names.sinks, "");
    if (spec_.attention.latent) {
      const LatentSpec& mla = spec_.attention.mla;
      const bool low = mla.q_rank > 0;
      part.down = {linear(low ? names.q_a : names.q), linear(names.kv_a)};
      if (low) part.q_latent_norm = norm(names.q_a_norm, mla.norm, mla.q_rank);
      if (low) part.q_up = linear(names.q_b);
      part.kv_latent_norm = norm(names.kv_a_norm, mla.norm, mla.kv_rank);
      part.kv_up = linear(names.kv_b);
      return part;
    }
    if (spec_.attention.qkv == QkvLayout::kSeparate) {
      part.qkv = {linear(names.q), linear(names.k), linear(names.v)};
    } else {
      part.qkv = {linear(names.qkv)};
    }
    part.q_norm = qk_norm(names.q_norm, spec_.attention.heads);
    part.k_norm = qk_norm(names.k_norm, spec_.attention.kv_heads);
    return part;
  }

 private:
  [[nodiscard]] at::Tensor ones(std::int64_t width) const {
    return at::ones({width}, any_options());
  }

  /// Of a vector: float32 on the CPU.
  [[nodiscard]] at::TensorOptions any_options() const {
    // In few bits it never is; in a file it has a shape alone.
    const at::Tensor& any = weights_.at(spec_.names.embed + ".weight");
    return any.is_cpu() || any.is_meta() ? at::TensorOptions(at::kFloat)
                                         : any.options().device(device_);
  }

  /// [heads * d_head], stored as one tensor or one for each head.
  [[nodiscard]] at::Tensor every_head(const std::string& pattern, std::string_view suffix,
                                      std::int64_t heads) const {
    std::vector<at::Tensor> parts;
    const bool one = pattern.find("{}") == pattern.rfind("{}");
    for (std::int64_t h = 0; h < (one ? 1 : heads); ++h) {
      const at::Tensor part = get(pattern, suffix, h);
      if (!part.defined()) return {};
      parts.push_back(part.to(any_options()).flatten());
    }
    return at::cat(parts);
  }

  /// Expert `e` of stacked tensors.
  [[nodiscard]] MlpPart stacked(std::int64_t e) const {
    const MoeSpec& moe = spec_.moe;
    const auto slice = [&](const std::string& pattern) {
      const at::Tensor bias = get(pattern, "_bias");
      Linear out{get(pattern, "").select(0, e),
                 bias.defined() ? bias.select(0, e).to(any_options()) : bias,
                 moe.matrix,
                 {},
                 {},
                 rows_};
      const std::int64_t rows = out.weight.size(0);
      if (const auto all = packed(layer_name(pattern, layer_)))
        out.packed = std::make_shared<const PackedMatrix>(all->part(e * rows, rows));
      return out;
    };
    return {.activation = spec_.mlp.activation,
            .inner = {slice(spec_.names.expert.gate_up)},
            .fused = true,
            .interleaved = moe.interleaved,
            .down = slice(spec_.names.expert.down)};
  }

  const std::unordered_map<std::string, at::Tensor>& weights_;
  const PackedWeights& packed_;
  const LoraParts& low_rank_;
  const DecoderSpec& spec_;
  RowForm rows_;
  std::int64_t layer_ = 0;
  at::Device device_ = at::kCPU;  ///< of the layer
};

}  // namespace

void Decoder::bind() {
  const NameSpec& names = spec_->names;
  Views views(weights_, packed_, low_rank_, *spec_, rows_);
  blocks_.clear();
  for (std::int64_t layer = 0; layer < spec_->layers; ++layer) {
    views.enter(layer, place_of(layer));
    const LayerSpec& each = spec_->layer[static_cast<std::size_t>(layer)];
    const bool shared = spec_->parallel && names.mlp_norm == names.attn_norm;
    Block block{.attn_norm = views.norm(names.attn_norm),
                .attn_post_norm = views.norm(names.attn_post_norm),
                .attn_add_norm = views.norm(names.attn_add_norm),
                .mlp_norm = shared ? Norm() : views.norm(names.mlp_norm),
                .mlp_post_norm = views.norm(names.mlp_post_norm),
                .mlp_add_norm = views.norm(names.mlp_add_norm),
                .attention = each.ssm ? AttentionPart() : views.attention(),
                .ssm = each.ssm ? views.state_space() : SsmPart(),
                .shared_norm = shared,
                .mlp = {},
                .moe = {}};
    if (each.moe) {
      block.moe = views.moe();
    } else if (each.mlp) {
      block.mlp = views.mlp(names.mlp);
    }
    blocks_.push_back(std::make_shared<const Block>(std::move(block)));
  }
  views.enter(0, device_);
  Linear embed = views.table(names.embed);
  embed.layout = MatrixLayout::kInOut;
  Linear head = views.table(names.head);
  if (spec_->tied_head) {
    head.weight = embed.weight;
    head.packed = embed.packed;
  }
  at::Tensor masked;
  if (!spec_->masked_ids.empty()) masked = at::zeros({spec_->vocab}, at::kBool);
  for (const auto& [first, last] : spec_->masked_ids) masked.slice(0, first, last).fill_(true);
  if (masked.defined()) masked = masked.to(device_);
  ends_ = std::make_shared<const Ends>(Ends{.embed = embed,
                                            .positions = views.get(names.positions, ".weight"),
                                            .embed_norm = views.norm(names.embed_norm),
                                            .final_norm = views.norm(names.final_norm),
                                            .project_in = views.table(names.project_in),
                                            .project_out = views.table(names.project_out),
                                            .head = head,
                                            .masked = masked});
}

}  // namespace lancet
