#include "surgery/locate/runs.h"

#include <cmath>

#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include "core/error.h"
#include "core/json.h"
#include "core/rng.h"

namespace lancet {
namespace {

/// Scores of rows' targets: [rows * target] in row order.
std::vector<TargetScore> score_rows(const Decoder& model, const at::Tensor& hidden,
                                    const std::vector<TokenId>& target) {
  const auto count = static_cast<std::int64_t>(target.size());
  const at::Tensor predicting =
      hidden.narrow(1, hidden.size(1) - count, count).reshape({-1, hidden.size(2)});
  std::vector<std::int32_t> targets;
  for (std::int64_t row = 0; row < hidden.size(0); ++row)
    targets.insert(targets.end(), target.begin(), target.end());
  return model.score_targets(predicting, targets);
}

}  // namespace

double subject_sigma(const Decoder& model, const Tokenizer& tokenizer,
                     const std::vector<std::string>& subjects) {
  std::vector<std::int64_t> ids;
  for (const std::string& subject : subjects) {
    const auto own = tokenizer.encode(subject, false).ids;
    ids.insert(ids.end(), own.begin(), own.end());
  }
  if (ids.empty()) fail(ErrorKind::kInput, "locate", "expected subjects to measure, found none");
  const c10::AutoGradMode no_gradient(false);
  const at::Tensor values = model.embed(at::tensor(ids, at::kLong)).to(at::kCPU, at::kDouble);
  return values.std().item<double>();
}

std::vector<std::string> shipped_subjects() {
  const fs::path path = share_dir() / "subjects.json";
  std::vector<std::string> out;
  const Json lists = read_json(path);
  for (const auto& [name, entry] : lists.items()) {
    if (json_bool(entry, "invented", name, false)) continue;
    for (const char* key : {"subjects", "protected"}) {
      for (const Json& subject : entry.value(key, Json::array()))
        out.push_back(subject.get<std::string>());
    }
  }
  return out;
}

at::Tensor corrupted_embeddings(const Decoder& model, const LocatePrompt& prompt,
                                std::int64_t samples, double deviation, std::uint64_t seed) {
  const c10::AutoGradMode no_gradient(false);
  const at::Tensor clean = model.embed(prompt.input().unsqueeze(0));
  const std::int64_t subject = prompt.subject_last - prompt.subject_first + 1;
  const std::int64_t width = clean.size(2);
  std::vector<float> values(static_cast<std::size_t>(samples * subject * width));
  Random(seed, "locate noise").fill_normal(0, values);
  const at::Tensor noise =
      at::from_blob(values.data(), {samples, subject, width}, at::kFloat).to(clean.options()) *
      deviation;
  at::Tensor out = clean.repeat({1 + samples, 1, 1});
  out.narrow(0, 1, samples).narrow(1, prompt.subject_first, subject).add_(noise);
  return out;
}

Runs run_both(const Decoder& model, const LocatePrompt& prompt, const at::Tensor& embeddings) {
  const c10::AutoGradMode no_gradient(false);
  const std::int64_t rows = embeddings.size(0);
  Runs out{.samples = rows - 1,
           .hidden = {},
           .attention = {},
           .mlp = {},
           .cache = KvCache(model.spec(), rows, embeddings.size(1), model.options())};
  Pass pass;
  pass.cache = &out.cache;
  pass.append = true;
  pass.hook = [&out](std::int64_t, Place place, const at::Tensor& value) {
    if (place == Place::kBlockInput) out.hidden.push_back(value);
    if (place == Place::kAttentionOutput) out.attention.push_back(value);
    if (place == Place::kMlpOutput) out.mlp.push_back(value);
    return value;
  };
  out.hidden.push_back(model.run(embeddings, 0, model.spec().layers, pass));
  out.cache.advance(std::vector<std::int64_t>(static_cast<std::size_t>(rows), embeddings.size(1)));
  const at::Tensor p = target_probabilities(model, out.hidden.back(), prompt.target);
  out.high = p[0].item<double>();
  if (rows > 1) out.low = p.narrow(0, 1, rows - 1).mean().item<double>();
  out.says_target = true;
  for (const TargetScore& score :
       score_rows(model, out.hidden.back().narrow(0, 0, 1), prompt.target))
    out.says_target = out.says_target && score.rank == 1;
  return out;
}

at::Tensor target_probabilities(const Decoder& model, const at::Tensor& hidden,
                                const std::vector<TokenId>& target) {
  const auto scores = score_rows(model, hidden, target);
  at::Tensor out = at::empty({hidden.size(0)}, at::kDouble);
  for (std::int64_t row = 0; row < hidden.size(0); ++row) {
    double logprob = 0;
    for (std::size_t i = 0; i < target.size(); ++i)
      logprob += scores[static_cast<std::size_t>(row) * target.size() + i].logprob;
    out.mutable_data_ptr<double>()[row] = std::exp(logprob);
  }
  return out;
}

}  // namespace lancet
