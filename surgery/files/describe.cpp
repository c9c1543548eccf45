// `lancet show`: what a delta or undo file holds.
#include <fmt/format.h>

#include "core/error.h"
#include "formats/containers/safetensors.h"
#include "surgery/files/delta.h"
#include "surgery/files/undo.h"

namespace lancet {
namespace {

std::string format_of(const fs::path& path) {
  const MappedFile file(path);
  const SafetensorsHeader header = parse_safetensors(file.bytes(), file.size(), path.string());
  const auto found = header.metadata.find("format");
  return found == header.metadata.end() ? "" : found->second;
}

Json describe_edit(const EditRecord& edit, const Delta* delta) {
  Json json{{"id", edit.id}, {"stage", edit.stage}};
  for (const char* key : {"subject", "prompt", "target", "true"}) {
    if (edit.fact.is_object() && edit.fact.contains(key)) json[key] = edit.fact[key];
  }
  if (delta != nullptr) {
    json["norm"] = Json::object();
    for (const auto& [name, range] : edit.columns) {
      json["norm"][name] = delta_norm(*delta->find(name), range.first, range.second);
    }
  }
  if (!edit.metrics.is_null()) json["metrics"] = edit.metrics;
  return json;
}

Json describe_ledger(const Ledger& ledger, const Delta* delta) {
  const Json full = ledger_to_json(ledger);
  Json json{{"tokenizer_sha256", ledger.tokenizer_sha256},
            {"tensors", Json::array()},
            {"stages", full["stages"]},
            {"edits", Json::array()}};
  for (const LedgerTensor& tensor : ledger.tensors) {
    Json entry{{"name", tensor.name},
               {"layer", tensor.layer},
               {"shape", {tensor.d_out, tensor.d_in}},
               {"layout", layout_name(tensor.layout)}};
    if (delta != nullptr) {
      entry["rank"] = delta->find(tensor.name)->rank;
      entry["norm"] = delta_norm(*delta->find(tensor.name));
    }
    entry["base_dtype"] = tensor.base_dtype;
    entry["base_sha256"] = tensor.base_sha256;
    json["tensors"].push_back(std::move(entry));
  }
  for (const EditRecord& edit : ledger.edits) json["edits"].push_back(describe_edit(edit, delta));
  return json;
}

}  // namespace

Json describe_delta(const fs::path& path) {
  fs::path file = path;
  if (fs::is_directory(path) || fs::exists(delta_path(path))) file = delta_path(path);
  if (!fs::exists(file)) {
    fail(ErrorKind::kInput, "show",
         fmt::format("expected an edited model or a delta file, found no {}", file.string()),
         "give the OUT of `lancet edit`, or the file of its --delta");
  }
  const bool undo = format_of(file) == "lancet.undo";
  Json json{{"file", file.string()}, {"kind", undo ? "undo" : "delta"}};
  if (undo) {
    const UndoFile loaded = load_undo(file);
    json.update(describe_ledger(loaded.ledger, nullptr));
    return json;
  }
  const Delta delta = load_delta(file);
  json.update(describe_ledger(delta.ledger, &delta));
  return json;
}

}  // namespace lancet
