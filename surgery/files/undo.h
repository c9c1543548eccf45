#pragma once
// lancet.undo.safetensors: the original bytes of every changed tensor under their own names;
// metadata: format = "lancet.undo", version = "1", ledger = JSON, state = {"NAME": {"original",
// "edited"}} (SHA-256 of the bytes). (W + d) - d is not W, so undo restores bytes.

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/file.h"
#include "core/json.h"
#include "surgery/files/apply.h"

namespace lancet {

inline constexpr std::string_view kUndoFile = "lancet.undo.safetensors";

struct UndoTensor {
  std::string name;
  PlainTensor original;
  std::string edited_sha256;  ///< of the tensor as it was written
};
struct UndoFile {
  Ledger ledger;
  std::vector<UndoTensor> tensors;
};

/// kInput when missing, damaged or of another version; every original is checked against its hash.
[[nodiscard]] UndoFile load_undo(const fs::path& path);
void save_undo(const fs::path& path, const UndoFile& undo);

/// What is left of a model's edits without some, written anew from the first stage on that these
/// touched (needs_rewrite).
using Rewrite = std::function<Delta(const ModelSource& edited, const UndoFile& undo,
                                    const Delta& all, const std::vector<std::string>& ids)>;

struct UndoOptions {
  bool force =
      false;  ///< overwrite OUT; also undo a model whose edited tensors were changed afterwards
  bool plan = false;
  Json command;
  Rewrite rewrite;  ///< the engine's; without it such a request is kInternal
};

/// `lancet undo EDITED [--edit ID]... -o OUT | --in-place` (`out` empty = in place). Without ids
/// every edit is taken out: stored bytes come back bit for bit and OUT has no delta or undo file.
/// With ids: original bytes, then the remaining edits applied again stage by stage; where they were
/// computed together with those taken out or on top of them, `rewrite` computes them anew, so that
/// the model is the one that has had the others only. kInput without
/// undo file, kUsage for an unknown id, kMismatch when a tensor is not as it was written (unless
/// force). Returns {output, removed: [ids], remaining: [ids], rewrites, tensors: [names],
/// exact, seconds, outputs}; `exact` is false only when --force overrode a changed tensor. With
/// `plan` nothing is written, no seconds and outputs, plan: true.
Json undo_model(const fs::path& edited, const std::vector<std::string>& ids,
                const std::optional<fs::path>& out, const UndoOptions& options);

}  // namespace lancet
