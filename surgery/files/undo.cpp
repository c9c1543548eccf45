#include "surgery/files/undo.h"

#include <algorithm>

#include <fmt/format.h>

#include "core/error.h"
#include "core/hash.h"
#include "core/seconds.h"
#include "core/text.h"
#include "formats/containers/safetensors.h"
#include "formats/copy_memory.h"

namespace lancet {
namespace {

const std::string& metadata_text(const SafetensorsHeader& header, const std::string& key,
                                 const std::string& source) {
  const auto found = header.metadata.find(key);
  if (found == header.metadata.end()) {
    fail(ErrorKind::kInput, "undo",
         fmt::format("expected metadata '{}', found none ({})", key, source));
  }
  return found->second;
}

/// What undo will write for one tensor. `as_written` becomes false when the model was changed after
/// the edit.
std::vector<ChangedTensor> restore(const ModelSource& source, UndoFile undo, const Delta& remaining,
                                   bool force, bool& as_written) {
  std::vector<ChangedTensor> out;
  for (UndoTensor& tensor : undo.tensors) {
    const std::string found =
        source.find(tensor.name) == nullptr ? "" : plain_sha256(read_plain(source, tensor.name));
    // An undo in place that was killed half way has the original bytes already.
    if (found != tensor.edited_sha256 && found != plain_sha256(tensor.original)) {
      as_written = false;
      if (!force || found.empty()) {
        fail(
            ErrorKind::kMismatch, "undo",
            fmt::format(
                "tensor '{}': expected the bytes that the edit wrote (SHA-256 {}), found {}",
                tensor.name, tensor.edited_sha256, found.empty() ? "no such tensor" : found),
            "the model was changed after the edit; --force restores the stored bytes all the same");
      }
    }
    ChangedTensor changed{tensor.name, std::move(tensor.original), {}};
    const DeltaTensor* factors = remaining.find(changed.name);
    changed.edited =
        factors == nullptr
            ? changed.original
            : apply_to_tensor(changed.original, *remaining.ledger.find_tensor(changed.name),
                              *factors, remaining.ledger);
    out.push_back(std::move(changed));
  }
  return out;
}

Delta rewrite(const UndoOptions& options, const ModelSource& source, const UndoFile& undo,
              const Delta& all, const std::vector<std::string>& ids) {
  if (options.rewrite) return options.rewrite(source, undo, all, ids);
  fail(ErrorKind::kInternal, "undo", "other edits have to be computed anew, and nobody can");
}

/// The files of a model that was written to `fresh`, with the names they shall get: weights first,
/// the ledger last, so that an undo that was killed between two renames can be run again.
std::vector<std::pair<fs::path, fs::path>> moves(const fs::path& fresh, const fs::path& model,
                                                 const std::vector<WrittenFile>& files) {
  std::vector<std::pair<fs::path, fs::path>> out;
  std::vector<fs::path> paths;
  paths.reserve(files.size() + 1);
  for (const WrittenFile& file : files) paths.push_back(file.path);
  const bool directory = fs::is_directory(fresh);
  paths.push_back(directory ? fresh / "lancet.json" : fs::path(fresh.string() + ".lancet.json"));
  std::stable_partition(paths.begin(), paths.end(), [](const fs::path& path) {
    return path.filename().string().find("lancet.") == std::string::npos;
  });
  for (const fs::path& path : paths) {
    const std::string tail = path.string().substr(fresh.string().size());
    out.emplace_back(path, model.string() + tail);
  }
  return out;
}

/// Writes beside `model` and moves file by file over it, so that files of other hands in a
/// directory stay.
std::vector<WrittenFile> write_in_place(const ModelSource& source, const fs::path& model,
                                        const std::vector<ChangedTensor>& changed,
                                        const Delta& remaining, const Json& manifest) {
  ApplyOptions apply;
  apply.force = true;
  const fs::path plain = model.has_filename() ? model : model.parent_path();
  const fs::path fresh =
      plain.parent_path() / (plain.stem().string() + ".undo" + plain.extension().string());
  auto files = write_edited(source, fresh, changed, remaining, apply, manifest);
  for (const auto& [from, to] : moves(fresh, plain, files)) {
    fs::create_directories(fs::absolute(to).parent_path());  // of chat templates
    fs::rename(from, to);
  }
  fs::remove_all(fresh);
  if (remaining.ledger.edits.empty()) {
    fs::remove(delta_path(plain));
    fs::remove(undo_path(plain));
  }
  for (WrittenFile& file : files)
    file.path = plain.string() + file.path.string().substr(fresh.string().size());
  return files;
}

}  // namespace

UndoFile load_undo(const fs::path& path) {
  const MappedFile file(path);
  const std::string source = path.string();
  const SafetensorsHeader header = parse_safetensors(file.bytes(), file.size(), source);
  const std::string& format = metadata_text(header, "format", source);
  if (format != "lancet.undo") {
    fail(ErrorKind::kInput, "undo",
         fmt::format("expected format 'lancet.undo', found '{}' ({})", printable(format), source));
  }
  UndoFile undo;
  undo.ledger =
      ledger_from_json(parse_json(metadata_text(header, "ledger", source), source), source);
  const Json state = parse_json(metadata_text(header, "state", source), source);
  for (const TensorInfo& info : header.tensors) {
    const auto found = state.find(info.name);
    if (!state.is_object() || found == state.end()) {
      fail(ErrorKind::kInput, "undo",
           fmt::format("tensor '{}': expected its hashes in the metadata ({})", info.name, source));
    }
    UndoTensor tensor{
        info.name, {info.dtype, info.shape, {}}, json_string(*found, "edited", source)};
    const Bytes bytes = file.bytes().subspan(info.offset, info.bytes);
    tensor.original.bytes.assign(bytes.begin(), bytes.end());
    const std::string expected = json_string(*found, "original", source);
    if (plain_sha256(tensor.original) != expected) {
      fail(ErrorKind::kInput, "undo",
           fmt::format("tensor '{}': expected bytes with SHA-256 {}, found {} ({})", info.name,
                       expected, plain_sha256(tensor.original), source),
           "the undo file is damaged");
    }
    undo.tensors.push_back(std::move(tensor));
  }
  return undo;
}

void save_undo(const fs::path& path, const UndoFile& undo) {
  std::vector<OutputTensor> tensors;
  Json state = Json::object();
  for (const UndoTensor& tensor : undo.tensors) {
    state[tensor.name] = {{"original", plain_sha256(tensor.original)},
                          {"edited", tensor.edited_sha256}};
    const PlainTensor* original = &tensor.original;
    tensors.push_back(
        {tensor.name, original->dtype, original->shape,
         [original](const std::function<void(Bytes)>& emit) { emit(original->bytes); }});
  }
  save_safetensors(path, std::move(tensors),
                   {{"format", "lancet.undo"},
                    {"version", "1"},
                    {"ledger", dump_json(ledger_to_json(undo.ledger))},
                    {"state", dump_json(state)}});
}

Json undo_model(const fs::path& edited, const std::vector<std::string>& ids,
                const std::optional<fs::path>& out, const UndoOptions& options) {
  const Timer timer;
  const fs::path target = out.value_or(edited);
  if (out)
    check_place("undo", *out, OutputKind::kModel, {edited, undo_path(edited), delta_path(edited)},
                replaces(options.force, options.plan));
  const ModelSource source = ModelSource::open(edited);
  if (!fs::exists(undo_path(edited))) {
    fail(ErrorKind::kInput, "undo",
         fmt::format("expected {}, found no such file", undo_path(edited).string()),
         "only a model that `lancet edit` or `lancet apply` wrote can be undone");
  }
  UndoFile undo = load_undo(undo_path(edited));
  Delta remaining;
  bool rewrites = false;
  if (!ids.empty()) {
    const Delta all = load_delta(delta_path(edited));
    rewrites = needs_rewrite(all.ledger, ids);
    remaining = rewrites && !options.plan ? rewrite(options, source, undo, all, ids)
                                          : without_edits(all, ids);
  }
  std::vector<std::string> removed, kept;
  for (const EditRecord& edit : undo.ledger.edits) {
    (remaining.ledger.find_edit(edit.id) == nullptr ? removed : kept).push_back(edit.id);
  }
  bool as_written = true;
  // A plan says what would be touched; the rewritten factors are not known yet.
  const auto changed =
      restore(source, std::move(undo), options.plan && rewrites ? Delta{} : remaining,
              options.force, as_written);
  Json result{{"output", target.string()}, {"removed", removed},       {"remaining", kept},
              {"rewrites", rewrites},      {"tensors", Json::array()}, {"exact", as_written}};
  for (const ChangedTensor& tensor : changed) result["tensors"].push_back(tensor.name);
  if (options.plan) {
    std::uint64_t held = 0, bytes = 0;
    for (const ChangedTensor& tensor : changed)
      held += tensor.original.bytes.size() + tensor.edited.bytes.size();
    for (const TensorInfo& info : source.tensors()) bytes += info.bytes;
    result["plan"] = true;
    result["bytes"] = bytes;
    // Edits that are computed anew take what `edit` takes.
    result["peak_memory"] =
        rewrites ? Json() : Json(held + copying_memory(target, bytes, source.side_files(), false));
    return result;
  }
  Json manifest = manifest_of(options.command);
  manifest["removed"] = removed;
  manifest["remaining"] = kept;
  manifest["inputs"] = Json::array({input_model(edited), input_file(undo_path(edited))});
  ApplyOptions apply;
  apply.force = options.force;
  result["outputs"] = Json::array();
  for (const WrittenFile& file :
       out ? write_edited(source, target, changed, remaining, apply, manifest)
           : write_in_place(source, target, changed, remaining, manifest)) {
    result["outputs"].push_back(
        {{"path", file.path.string()}, {"bytes", file.bytes}, {"sha256", file.sha256}});
  }
  result["seconds"] = timer.seconds();
  return result;
}

}  // namespace lancet
