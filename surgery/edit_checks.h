#pragma once
// What command line and headers tell about an edit, before weights are read: the same for a run and
// for --plan.

#include <optional>

#include "formats/model_source.h"
#include "formats/tokenizer/tokenizer.h"
#include "model/architecture.h"
#include "surgery/editor.h"
#include "surgery/layers.h"
#include "surgery/requests.h"

namespace lancet {

/// A request that nothing stands against but the weights.
struct PreparedEdit {
  EditRequest request;  ///< with the facts that can be written
  const Editor& editor;
  Parameters parameters;
  ModelSource source;
  Tokenizer tokenizer;
  DecoderSpec spec;
  std::optional<LayerChoice> layers;  ///< nothing where a sweep has to choose
};

/// Whether an editor looks for the subject's last token in its prompts.
[[nodiscard]] bool finds_subjects(const Editor& editor);

/// kUsage for options or parameters that do not go together, outputs that exist or are one place, a
/// fact or a contexts file that cannot be used; kInput for files that are missing, kMismatch for
/// layers without MLP, or of experts where the editor writes none, and for second moments of other
/// layers or sizes. Of a file of facts, those whose subject has no last token of its own are named
/// by line and left out; kInput where none is left.
[[nodiscard]] PreparedEdit prepare_edit(const EditRequest& request);

}  // namespace lancet
