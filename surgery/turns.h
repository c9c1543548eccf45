#pragma once
// Turns of an edit (batches, or facts where they are written one by one) that survive a kill. What
// a turn adds is kept in a file of its own, so that a later run of the same edit takes it instead
// of searching again; what stands for all turns together is kept of the last one only.

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include <ATen/ATen.h>

#include "core/json.h"
#include "formats/output_journal.h"
#include "surgery/editor.h"

namespace lancet {

using TurnTensors = std::map<std::string, at::Tensor>;

/// What a turn adds: whatever its editor needs to do as if it had made it, to the bit.
struct EditTurn {
  Json json = Json::object();
  TurnTensors tensors;  ///< float32 or float64; restored on the CPU

  /// At the end of the traces.
  void add(const FactTrace& trace);
  [[nodiscard]] std::vector<FactTrace> traces() const;
};

class Turns {
 public:
  /// Finds the turns that an earlier run finished, from the first one on, as far as their files
  /// are intact. `journal` outlives this.
  explicit Turns(OutputJournal& journal);

  /// The next of them; nothing where there is none left. The last one has the state, too.
  [[nodiscard]] std::optional<EditTurn> take();
  /// The turn behind the last one. `state`: what takes the place of the state kept before.
  void keep(const EditTurn& turn, const TurnTensors& state = {});
  /// Number of turns that an earlier run finished.
  [[nodiscard]] std::int64_t found() const noexcept { return found_; }

 private:
  OutputJournal& journal_;
  std::int64_t found_ = 0, next_ = 0;

  [[nodiscard]] bool is_there(const std::string& name) const;
  void save(const std::string& name, const Json& json, const TurnTensors& tensors);
};

}  // namespace lancet
