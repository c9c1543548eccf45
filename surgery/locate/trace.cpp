#include "surgery/locate/trace.h"

#include <algorithm>
#include <optional>

#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "core/error.h"
#include "core/text.h"

namespace lancet {
namespace {

bool is_state(TraceKind kind) { return kind != TraceKind::kMlp && kind != TraceKind::kAttention; }

/// One cell of one map: `samples` rows of the batch.
struct Cell {
  std::size_t map = 0;
  TraceKind kind = TraceKind::kHidden;
  std::int64_t layer = 0;
  std::int64_t first = 0, behind = 0;  ///< layers whose module output is replaced
  std::int64_t start = 0;              ///< the block that its rows enter first
  /// Windows cut at the bottom replace the same outputs up to the first one's end: their rows are
  /// those of the longest, the cell of this layer, as it enters `start`. -1: of their own.
  std::int64_t trunk = -1;
};

/// Where a kind replaces values inside a block, and by which row of the runs.
struct Replacement {
  Place place = Place::kMlpOutput;
  bool clean = true;
};

std::optional<Replacement> replacement_of(TraceKind kind) {
  switch (kind) {
    case TraceKind::kHidden:
      return std::nullopt;
    case TraceKind::kMlp:
      return Replacement{Place::kMlpOutput, true};
    case TraceKind::kAttention:
      return Replacement{Place::kAttentionOutput, true};
    case TraceKind::kSeveredMlp:
      return Replacement{Place::kMlpOutput, false};
    case TraceKind::kSeveredAttention:
      return Replacement{Place::kAttentionOutput, false};
  }
  return std::nullopt;
}

Cell make_cell(std::size_t map, TraceKind kind, std::int64_t layer, std::int64_t window,
               std::int64_t layers) {
  const auto [first, behind] = restored_layers(kind, layer, window, layers);
  if (is_state(kind)) return {map, kind, layer, layer + 1, layers, layer + 1};
  const std::int64_t trunk = std::min(window / 2, layers - 1);
  if (layer < trunk) return {map, kind, layer, first, behind, behind, trunk};
  return {map, kind, layer, first, behind, first};
}

/// Some cells as a batch of their own, in the order of their start: where a trunk is not among
/// them, its cells begin at their first layer.
std::vector<Cell> as_batch(std::span<const Cell> some) {
  std::vector<Cell> out(some.begin(), some.end());
  for (Cell& cell : out) {
    const bool there = std::ranges::any_of(some, [&](const Cell& other) {
      return other.map == cell.map && other.layer == cell.trunk;
    });
    if (cell.trunk < 0 || there) continue;
    cell.trunk = -1;
    cell.start = cell.first;
  }
  std::ranges::stable_sort(out, {}, &Cell::start);
  return out;
}

/// The cells of one token, those that enter lower blocks first.
std::vector<Cell> token_cells(const std::vector<TraceMap>& maps, std::int64_t layers) {
  std::vector<Cell> cells;
  for (std::size_t m = 0; m < maps.size(); ++m) {
    for (std::int64_t layer = 0; layer < layers; ++layer)
      cells.push_back(make_cell(m, maps[m].kind, layer, maps[m].window, layers));
  }
  std::ranges::stable_sort(cells, {}, &Cell::start);
  return cells;
}

class TokenTrace {
 public:
  TokenTrace(const Decoder& model, const LocatePrompt& prompt, const Runs& runs, std::int64_t token)
      : model_(model), prompt_(prompt), runs_(runs), token_(token) {}

  /// Mean p(target) of each cell.
  std::vector<double> run(std::span<const Cell> cells, TraceWork& work) {
    cells_ = cells;
    const std::int64_t layers = model_.spec().layers, targets = std::ssize(prompt_.target);
    const std::int64_t tail = runs_.hidden.front().size(1) - token_;
    std::optional<KvCache> prefix;
    if (token_ > 0) prefix = prefix_of(static_cast<std::int64_t>(cells.size()));
    at::Tensor hidden;
    std::size_t active = 0;
    for (std::int64_t layer = cells.front().start;; ++layer) {
      std::vector<at::Tensor> parts;
      if (hidden.defined()) parts.push_back(hidden);
      for (; active < cells.size() && cells[active].start == layer; ++active)
        parts.push_back(ends_of(entering(cells[active], layer, hidden), layer));
      hidden = parts.size() == 1 ? parts.front() : at::cat(parts);
      if (layer == layers) break;
      std::optional<KvCache> rows;
      if (prefix) rows = prefix->front(hidden.size(0));
      Pass pass;
      pass.cache = rows ? &*rows : nullptr;
      pass.hook = [this, active](std::int64_t at, Place place, const at::Tensor& value) {
        return replaced(at, place, value, active);
      };
      ++work.layer_calls;
      work.token_layers += hidden.size(0) * hidden.size(1);
      if (layer + 1 == layers && tail > targets) {  // only what predicts the target is read
        pass.wanted = last_positions(hidden.size(0), tail, targets);
        pass.hook = {};  // no restored token is among them
      }
      hidden = model_.run(hidden, layer, layer + 1, pass);
      if (pass.wanted.defined()) hidden = hidden.reshape({-1, targets, hidden.size(2)});
    }
    const at::Tensor p =
        target_probabilities(model_, hidden, prompt_.target).view({-1, runs_.samples}).mean(1);
    return {p.const_data_ptr<double>(), p.const_data_ptr<double>() + p.numel()};
  }

 private:
  /// Behind the last block, the positions of [rows, tail, d_model] that predict the target.
  [[nodiscard]] at::Tensor ends_of(const at::Tensor& rows, std::int64_t layer) const {
    const std::int64_t targets = std::ssize(prompt_.target);
    return layer < model_.spec().layers ? rows : rows.narrow(1, rows.size(1) - targets, targets);
  }

  /// The last `count` of `tail` positions of every row.
  [[nodiscard]] at::Tensor last_positions(std::int64_t rows, std::int64_t tail,
                                          std::int64_t count) const {
    const at::Tensor ends = at::arange(tail - count, tail, at::kLong);
    return (at::arange(rows, at::kLong).unsqueeze(1) * tail + ends)
        .flatten()
        .to(runs_.hidden.front().device());
  }

  /// Keys and values of the corrupted tokens before this one, once for each cell.
  [[nodiscard]] KvCache prefix_of(std::int64_t cells) const {
    std::vector<std::int64_t> rows;
    for (std::int64_t cell = 0; cell < cells; ++cell) {
      for (std::int64_t sample = 1; sample <= runs_.samples; ++sample) rows.push_back(sample);
    }
    KvCache out = runs_.cache.select(rows);
    out.truncate(std::vector<std::int64_t>(rows.size(), token_));
    return out;
  }

  /// [samples, tail, d_model] of a cell's rows as they enter `layer`; `hidden`: of all cells so
  /// far.
  [[nodiscard]] at::Tensor entering(const Cell& cell, std::int64_t layer,
                                    const at::Tensor& hidden) const {
    if (cell.trunk >= 0) {
      const auto trunk = std::ranges::find_if(cells_, [&](const Cell& other) {
        return other.map == cell.map && other.layer == cell.trunk;
      });
      return hidden.narrow(0, (trunk - cells_.begin()) * runs_.samples, runs_.samples);
    }
    const at::Tensor& all = runs_.hidden[static_cast<std::size_t>(layer)];
    at::Tensor tail = all.narrow(0, 1, runs_.samples).narrow(1, token_, all.size(1) - token_);
    if (!is_state(cell.kind)) return tail;
    at::Tensor out = tail.clone();
    out.select(1, 0).copy_(all[0][token_]);
    return out;
  }

  [[nodiscard]] at::Tensor replaced(std::int64_t layer, Place place, const at::Tensor& value,
                                    std::size_t active) const {
    if (place != Place::kMlpOutput && place != Place::kAttentionOutput) return value;
    const auto& stored = place == Place::kMlpOutput ? runs_.mlp : runs_.attention;
    const at::Tensor own = stored[static_cast<std::size_t>(layer)].select(1, token_);
    at::Tensor out;
    for (std::size_t i = 0; i < active; ++i) {
      const auto how = replacement_of(cells_[i].kind);
      if (!how || how->place != place || layer < cells_[i].first || layer >= cells_[i].behind)
        continue;
      if (!out.defined()) out = value.clone();
      out.narrow(0, static_cast<std::int64_t>(i) * runs_.samples, runs_.samples)
          .select(1, 0)
          .copy_(how->clean ? own.narrow(0, 0, 1) : own.narrow(0, 1, runs_.samples));
    }
    return out.defined() ? out : value;
  }

  const Decoder& model_;
  const LocatePrompt& prompt_;
  const Runs& runs_;
  std::int64_t token_;
  std::span<const Cell> cells_;
};

/// Cells of one batch: states, inner activations of a block, and the prefix of all layers.
std::size_t cells_of_chunk(const Decoder& model, const Runs& runs, std::int64_t token,
                           std::int64_t chunk_bytes) {
  const DecoderSpec& spec = model.spec();
  const std::int64_t tokens = runs.hidden.front().size(1);
  const std::int64_t states = (tokens - token) * (6 * spec.d_model + 4 * spec.mlp.d_ff);
  const std::int64_t prefix =
      token == 0 ? 0 : spec.layers * 2 * spec.attention.kv_heads * spec.attention.d_head * tokens;
  const std::int64_t bytes = runs.samples * (states + prefix) * 4;
  return static_cast<std::size_t>(std::max<std::int64_t>(1, chunk_bytes / bytes));
}

}  // namespace

TraceKind trace_kind(std::string_view name) {
  for (std::size_t i = 0; i < std::size(kTraceKinds); ++i) {
    if (kTraceKinds[i] == name) return static_cast<TraceKind>(i);
  }
  fail(
      ErrorKind::kUsage, "locate",
      fmt::format("--kind: expected {}, found '{}'", fmt::join(kTraceKinds, ", "), printable(name)),
      did_you_mean(name, {std::begin(kTraceKinds), std::end(kTraceKinds)}));
}

std::string_view trace_kind_name(TraceKind kind) {
  return kTraceKinds[static_cast<std::size_t>(kind)];
}

void TraceWork::add(const TraceWork& other) {
  layer_calls += other.layer_calls;
  token_layers += other.token_layers;
  plain_layer_calls += other.plain_layer_calls;
  plain_token_layers += other.plain_token_layers;
}

std::pair<std::int64_t, std::int64_t> restored_layers(TraceKind kind, std::int64_t layer,
                                                      std::int64_t window, std::int64_t layers) {
  if (is_state(kind)) return {layer, layer + 1};
  const std::int64_t first = layer - window / 2;
  return {std::max<std::int64_t>(0, first), std::min(layers, first + window)};
}

Trace trace_states(const Decoder& model, const LocatePrompt& prompt, const Runs& runs,
                   std::span<const TraceKind> kinds, std::int64_t window, Progress* progress,
                   std::int64_t chunk_bytes) {
  const c10::AutoGradMode no_gradient(false);
  const std::int64_t layers = model.spec().layers;
  Trace out;
  for (const TraceKind kind : kinds) {
    // Before the subject nothing is corrupted: restoring there changes nothing.
    out.maps.push_back({kind, is_state(kind) ? 1 : window,
                        at::full({prompt.size(), layers}, runs.low, at::kDouble)});
  }
  const std::vector<Cell> cells = token_cells(out.maps, layers);
  const auto count = static_cast<std::int64_t>(cells.size());
  for (std::int64_t token = prompt.subject_first; token < prompt.size(); ++token) {
    TokenTrace trace(model, prompt, runs, token);
    const std::size_t chunk = cells_of_chunk(model, runs, token, chunk_bytes);
    for (std::size_t first = 0; first < cells.size(); first += chunk) {
      const std::vector<Cell> part =
          as_batch(std::span(cells).subspan(first, std::min(chunk, cells.size() - first)));
      const std::vector<double> scores = trace.run(part, out.work);
      for (std::size_t i = 0; i < part.size(); ++i)
        out.maps[part[i].map].scores[token][part[i].layer] = scores[i];
      if (progress != nullptr) progress->advance(part.size());
    }
  }
  const std::int64_t tokens = runs.hidden.front().size(1);
  out.work.layer_calls += layers;  // both runs, one batch
  out.work.token_layers += layers * (1 + runs.samples) * tokens;
  out.work.plain_layer_calls = layers * count * prompt.size();
  out.work.plain_token_layers = out.work.plain_layer_calls * (1 + runs.samples) * tokens;
  return out;
}

}  // namespace lancet
