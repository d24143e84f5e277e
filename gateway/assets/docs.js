// Nothing is asked of a third party: without `validatorUrl`, Swagger UI would show a badge of its makers' validator.
SwaggerUIBundle({ url: "/openapi.json", dom_id: "#browser", deepLinking: true, validatorUrl: null });
