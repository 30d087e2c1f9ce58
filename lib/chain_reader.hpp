// Reads the await chain of a task from another thread. The task is held in place meanwhile: its park word is
// taken from parked, shielded or calling to `inspected`, and claims wait until it is put back. Callers hold the lock of
// the context that the task is enrolled with, so the task can not have gone.
#pragma once

#include <leat/inspect.hpp>
#include <leat/task.hpp>

namespace leat::detail {

class chain_reader {
public:
    static inspect::task_info read(task_root& root);

private:
    static void read_chain(task_root& root, inspect::task_info& into);
};

}  // namespace leat::detail
