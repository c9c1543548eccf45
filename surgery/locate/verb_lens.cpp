// `lancet locate lens`.
#include "core/error.h"
#include "surgery/locate/corrupted.h"
#include "surgery/locate/lens.h"

namespace lancet {
namespace {

Json top_json(const Tokenizer& tokenizer, const std::vector<LensToken>& top) {
  Json out = Json::array();
  for (const LensToken& one : top)
    out.push_back({{"token", tokenizer.decode({one.id}, false)}, {"p", one.probability}});
  return out;
}

}  // namespace

Located locate_lens(const SurgeryModel& model, const LocateRequest& request,
                    const RuntimeOptions&) {
  if (request.batch) fail(ErrorKind::kUsage, "locate", "lens reads one prompt, not a file");
  LocatePrompt prompt = read_prompt(model.tokenizer, request.facts.front(), false);
  answer_by_model(model.decoder, model.tokenizer, prompt);
  const Lens lens = read_lens(model.decoder, prompt, request.top);
  Json top = Json::array();
  for (const auto& token : lens.top) {
    Json row = Json::array();
    for (const auto& layer : token) row.push_back(top_json(model.tokenizer, layer));
    top.push_back(std::move(row));
  }
  Located out;
  out.json = prompt_json(prompt);
  out.json["target_token"] = model.tokenizer.decode({prompt.target.front()}, false);
  out.json["kind"] = "lens";
  out.json["scores"] = matrix_json(lens.probability);
  out.json["ranks"] = matrix_json(lens.rank);
  out.json["entropy"] = matrix_json(lens.entropy);
  out.json["top"] = std::move(top);
  out.arrays.add("scores", lens.probability);
  out.arrays.add("ranks", lens.rank);
  out.arrays.add("entropy", lens.entropy);
  out.arrays.add("input_tokens", prompt.tokens);
  out.arrays.add("answer", out.json["target_token"].get<std::string>());
  return out;
}

}  // namespace lancet
