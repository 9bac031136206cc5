/* JupyterLab's plugin that says what the start of the server found (start.py): an entry of module federation, written by hand.
   https://jupyterlab.readthedocs.io/en/stable/extension/extension_dev.html#prebuilt-extensions */
(() => {
  const plugin = {
    id: 'farmlet-notice:plugin',
    autoStart: true,
    activate: app => {
      const told = JSON.parse(document.getElementById('jupyter-config-data').textContent).farmletNotice
      if (!told) return
      // as no notification, which ends or hides: as a window that waits for its button
      app.restored.then(() => {
        const dialog = document.createElement('dialog')
        const text = document.createElement('p')
        const form = document.createElement('form')
        const button = document.createElement('button')
        text.textContent = told
        text.style = 'max-width: 40rem; overflow-wrap: anywhere'
        button.textContent = 'Understood'
        button.autofocus = true
        form.method = 'dialog'
        form.append(button)
        dialog.setAttribute('aria-label', 'A word from the facility')
        dialog.append(text, form)
        document.body.append(dialog)
        dialog.showModal()
      })
    }
  }
  window._JUPYTERLAB = window._JUPYTERLAB || {}
  window._JUPYTERLAB['farmlet-notice'] = {
    init: () => undefined,
    get: () => Promise.resolve(() => ({ __esModule: true, default: plugin }))
  }
})()
